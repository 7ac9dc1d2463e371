# Everything a checkout can do. Each target does its own set-up; all but `check` need root.
VENV := .venv
PYTHON := $(VENV)/bin/python
RUN_PACKAGES := python3-venv iproute2 nftables util-linux busybox-static libseccomp2
TEST_PACKAGES := $(RUN_PACKAGES) etcd-server dbus-daemon runc crun procps docker-registry skopeo gcc libc6-dev e2fsprogs apparmor kmod cpio qemu-system-x86 bind9-dnsutils musl-tools

# Labs of tests and benchmarks reach nothing outside of them; those of `make demo` do, unless the caller says so.
test bench: export PINNACE_LAB_ISOLATED := 1

.PHONY: bytecode demo test check generate bench clean help

help:
	@echo "make demo      set up, make a lab of three nodes, run the example, and leave the lab up"
	@echo "make test      set up and run the whole test suite (root)"
	@echo "make check     ruff, mypy --strict, import-linter, freshness of generated code and of tables in docs/"
	@echo "make generate  messages, stubs and field documentation from proto/; pages of docs/ on kinds, fields, rules, clients"
	@echo "make bench     the benchmarks, one JSON object each (root)"
	@echo "make clean     remove the default lab and build products"

# Python keeps what it compiles, unless PYTHONDONTWRITEBYTECODE says otherwise: then each process compiles for most of a second.
bytecode: | $(VENV)/.run
	@$(PYTHON) -m compileall -q pinnace controlplane nodeagent cli

demo: $(VENV)/.run bytecode
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" deploy/demo.sh

# ARGS, such as a path or -k NAME: one pytest with them; else the whole suite in groups side by side.
test: $(VENV)/.dev .vm/complete bytecode
	$(PYTHON) -m $(if $(ARGS),pytest $(ARGS),tests.parallel)

# Of the virtual machine in tests/vm, which is an x86-64 one.
.vm/complete: | $(VENV)/.dev
	@[ "$$(uname -m)" != x86_64 ] || deploy/kernel.sh .vm

check: $(VENV)/.dev bytecode
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PYTHON) -m pinnace.codegen --check
	$(PYTHON) -m pinnace.fieldtable --check
	$(PYTHON) -m pinnace.ruletable --check
	$(PYTHON) -m controlplane.kindtable --check
	$(PYTHON) -m tests.clients.catalogue --check

generate: $(VENV)/.dev
	$(PYTHON) -m pinnace.codegen
	$(PYTHON) -m pinnace.fieldtable
	$(PYTHON) -m pinnace.ruletable
	$(PYTHON) -m controlplane.kindtable
	$(PYTHON) -m tests.clients.catalogue

bench: $(VENV)/.dev bytecode
	@for name in core kinds api scale controllers lab_up pod_start container_start overlay services dns policies footprint; do $(PYTHON) benchmarks/$$name.py || exit 1; done

clean:
	@if [ -x $(VENV)/bin/kctl ] && [ -e /var/lib/pinnace/labs/default ]; then $(VENV)/bin/kctl lab down --name default; fi
	rm -rf $(VENV) .vm .clients .demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml Makefile
	@deploy/packages.sh $(RUN_PACKAGES)
	@echo "Python packages into $(VENV)"
	@[ -x $(PYTHON) ] || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml Makefile
	@deploy/packages.sh $(TEST_PACKAGES)
	@echo "Python packages for development into $(VENV)"
	@[ -x $(PYTHON) ] || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run
