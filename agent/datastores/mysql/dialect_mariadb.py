"""The statements of MariaDB."""

from agent.datastores.mysql import passwords
from agent.datastores.mysql.dialect import Dialect

MARIADB = Dialect(
    product="MariaDB",
    make_read_only="SET GLOBAL read_only = ON",
    make_writable="SET GLOBAL read_only = OFF",
    make_resyncable="SET GLOBAL read_only = ON",
    kept={"kept": "until a restart: set read_only in MariaDB's configuration file to its present value"},
    replica_status="SHOW ALL REPLICAS STATUS",
    select_replica="SET @@default_master_connection = %s",
    follow=(
        "CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USER = %s, MASTER_PASSWORD = %s, "
        "MASTER_USE_GTID = slave_pos"
    ),
    empty_binary_logs=("RESET MASTER", "SET GLOBAL gtid_slave_pos = ''"),
    gtids_applied="SELECT MASTER_GTID_WAIT(%s, 0) = 0 AS applied",
    received="Gtid_IO_Pos",
    identity="SELECT CONCAT(@@hostname, ':', @@port, ':', @@datadir) AS identity",
    can_lead="SELECT @@log_bin = 1 AS yes",
    users="SELECT user AS user, host AS host FROM mysql.user WHERE is_role = 'N'",
    log_nothing=("SET SESSION sql_log_off = ON", "SET SESSION slow_query_log = OFF"),
    identified="IDENTIFIED VIA mysql_native_password USING %s",
    hash_password=passwords.native,
    encode_file_name="SELECT CAST(CONVERT(%s USING filename) AS BINARY) AS encoded",
    dump=(
        "mariadb-dump", "--all-databases", "--single-transaction", "--master-data=1", "--gtid", "--routines",
        "--events", "--triggers", "--hex-blob", "--flush-privileges",
    ),
    client="mariadb",
    client_options="",
)  # fmt: skip
