"""The options that all modules have."""

from __future__ import annotations


class ModuleDocFragment:
    """Read by ansible-doc."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Where the agent listens, C(unix:PATH), C(http://HOST:PORT) or C(https://HOST:PORT).
      - A socket is reached on the managed host. For HTTPS from the controller delegate the task to C(localhost).
    type: str
    default: unix:/run/agent/agent.sock
  token:
    description: The token of the caller. Mutually exclusive with O(token_file).
    type: str
  token_file:
    description: A file with the token of the caller, on the host where the module runs.
    type: path
  ca_file:
    description: The certificates that the agent's certificate is verified with; those of the system by default.
    type: path
  certificate_file:
    description: The client certificate, where the agent requires one.
    type: path
  key_file:
    description: The key of O(certificate_file).
    type: path
  answer_timeout:
    description: Seconds that one answer of the agent may take.
    type: int
    default: 30
  patience:
    description: Seconds for which an agent that has answered before may not answer, while it or its host starts again.
    type: int
    default: 600
requirements:
  - Python >= 3.10 on the host where the module runs
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
"""
