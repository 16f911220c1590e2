"""The statements of MySQL."""

from dataclasses import replace

from agent.datastores.mysql import passwords
from agent.datastores.mysql.dialect import Dialect

KEPT = {"kept": "also after a restart: it is persisted"}

MYSQL = Dialect(
    product="MySQL",
    make_read_only="SET PERSIST super_read_only = ON",
    # One statement, so that it is atomic.
    make_writable="SET PERSIST super_read_only = OFF, PERSIST read_only = OFF",
    make_resyncable="SET GLOBAL super_read_only = OFF",
    kept=KEPT,
    replica_status="SHOW REPLICA STATUS",
    select_replica=None,
    follow=(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_USER = %s, SOURCE_PASSWORD = %s, "
        "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
    ),
    empty_binary_logs=("RESET BINARY LOGS AND GTIDS",),
    gtids_applied="SELECT GTID_SUBSET(%s, @@GLOBAL.gtid_executed) AS applied",
    received="Retrieved_Gtid_Set",
    identity="SELECT @@server_uuid AS identity",
    can_lead="SELECT @@log_bin = 1 AND @@GLOBAL.gtid_mode = 'ON' AS yes",
    users="SELECT user AS user, host AS host FROM mysql.user",
    log_nothing=("SET SESSION sql_log_off = ON",),
    identified="IDENTIFIED WITH caching_sha2_password AS %s",
    hash_password=passwords.caching_sha2,
    encode_file_name=None,
    dump=(
        "mysqldump", "--all-databases", "--single-transaction", "--set-gtid-purged=ON", "--routines", "--events",
        "--triggers", "--hex-blob", "--flush-privileges",
    ),
    client="mysql",
    client_options="get-server-public-key\n",
)  # fmt: skip


def of(version: tuple[int, ...]) -> Dialect:
    """The statements of this version: one was renamed."""
    return MYSQL if version >= (8, 2) else replace(MYSQL, empty_binary_logs=("RESET MASTER",))
