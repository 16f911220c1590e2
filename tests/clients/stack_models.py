"""The models of the AsyncAction resource: the seed's, and those of typed clients."""

from __future__ import annotations

from tests.clients.strict import (
    Decoder,
    anything,
    listed,
    maybe,
    one_of,
    record,
    table,
    text,
    time,
    truth,
    whole,
)

STARTED_VIA = {"API": "api", "WEB": "web", "HOOK": "hook", "CLI": "cli"}
"""By channel: `started_via` of an AsyncAction."""
PAGINATION = record(
    {
        "previous": maybe(whole),
        "next": maybe(whole),
        "current": whole,
        "per_page": whole,
        "count": whole,
        "pages": whole,
    }
)
PING = record({"response": record({"ok": truth, "message": text})})
DEPLOYMENT = record({"response": record({"ok": truth, "message": text, "queued": truth, "async_action_id": whole})})
STACK = record(
    {
        **dict.fromkeys(("uid", "name", "git", "git_branch", "environment", "cloud", "fqdn", "language"), text),
        **dict.fromkeys(("framework", "deploy_directory", "backend", "version", "revision", "account_name"), text),
        **dict.fromkeys(("cluster_name", "configstore_namespace"), text),
        **dict.fromkeys(("status", "health", "account_id"), whole),
        **dict.fromkeys(("maintenance_mode", "has_loadbalancer", "is_cluster", "is_inside_cluster"), truth),
        **dict.fromkeys(("updated_at_iso", "created_at_iso"), time),
        **dict.fromkeys(("redeploy_hook", "application_address"), maybe(text)),
        "last_activity_iso": maybe(time),
        "namespaces": listed(text),
    }
)
SERVER = record(
    {
        **dict.fromkeys(("uid", "vendor_uid", "name", "address", "distro", "distro_version", "dns_record"), text),
        **dict.fromkeys(("server_type", "stack_uid", "region", "availability_zone", "ext_ipv4", "user_name"), text),
        **dict.fromkeys(("deploy_gateway_address", "deploy_gateway_user_name"), text),
        **dict.fromkeys(("server_group_id", "health_state"), whole),
        **dict.fromkeys(("has_agent", "personal_key", "has_deploy_gateway", "is_kubernetes_master"), truth),
        **dict.fromkeys(("created_at", "updated_at"), time),
        "server_roles": listed(text),
        "ssh_private_key": maybe(text),
        "params": anything,
        "notifications": table,
    }
)


def page(item: Decoder) -> Decoder:
    return record({"response": listed(item), "count": whole, "pagination": PAGINATION})


def one(item: Decoder) -> Decoder:
    return record({"response": item})


def action(form: str) -> Decoder:
    """An AsyncAction."""
    return record(
        {
            "id": whole,
            "user": text,
            "resource_type": one_of("Stack", "Server", "Database", "DatabaseUser", "Service", "Container", "Process"),
            "action": text,
            "resource_id": text if form == "typed" else whole,
            "started_via": one_of(*STARTED_VIA.values()),
            "started_at": time,
            "finished_at": maybe(time),
            "finished_success": maybe(truth),
            "finished_message": maybe(text),
            "finished_result": maybe(table),
            "metadata": table,
        }
    )


def error(form: str) -> Decoder:
    return record(
        {"error": text, "error_description": text, "layers": listed(text), "variant": text},
        {"details": text if form == "typed" else table},
    )
