.PHONY: fast test lint docs package lock
BIN := .venv/bin

# What needs no server and no root.
fast:
	$(BIN)/pytest --fast -n 2 -q

# The whole suite: real servers (see .ci/servers), and root.
test:
	$(BIN)/pytest

# Form and types.
lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 0 tests/test_imports.py tests/test_architecture_page.py tests/test_promises.py tests/test_host_page.py

# The files that are made from the code.
docs:
	$(BIN)/agentctl config kinds > docs/kinds.rst
	$(BIN)/agentctl config man > docs/agentctl.1
	$(BIN)/agentctl config show > systemd/agent.toml

# The wheel, the sdist, the .deb and the .rpm, into dist/.
package:
	$(BIN)/python packaging/make_packages.py

# The versions and hashes of all that the .deb and the .rpm carry, from setup.cfg.
lock:
	$(BIN)/uv pip compile setup.cfg --extra all --python-version 3.11 --generate-hashes --upgrade --quiet \
	    --no-emit-index-url --no-annotate --no-header -o packaging/requirements.lock
	sed -i '1i # What the packages of the operating system carry, by hash. Made by `make lock`.' packaging/requirements.lock
