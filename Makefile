# make run     the daemon on the embedded demo stream
# make test    the tests, with coverage
# make check   ruff, mypy, import-linter
# make bench   the benchmarks, as ratios against peers measured in the same run
# make chaos   everything killed, cut, filled and damaged for SECONDS (120), and what a consumer did not learn of
# make soak    reloads, reconnects and journal rotations for SECONDS (take 3600) under hundreds of streams, with memory, files and threads measured
# make faults  each fault of docs/faults.md, injected into a real daemon
# make install the daemon under PREFIX (/opt/streamcls), its units and, where there is none, an example configuration; DESTDIR goes before all
# make man     the manual pages and the shells' completions in build/share
# make deb     a Debian package in dist/, built in a Debian tree
#
# Each prepares what it needs, system packages included.

VENV ?= .venv
CONFIG ?=
PYTEST_ARGS ?=
# Processes that run tests: they wait for daemons more than they compute.
AT_ONCE ?= 3
SECONDS ?= 120
PREFIX ?= /opt/streamcls
SYSCONFDIR ?= /etc
DESTDIR ?=
EXTRAS ?= webhook,mqtt,prometheus

.PHONY: run test check licences bench chaos soak faults install man deb clean

run:
	@scripts/install-system-packages run
	@[ -x $(VENV)/bin/streamcls ] || scripts/make-environment $(VENV) -
	@exec $(VENV)/bin/streamcls run $(CONFIG)

test:
	@scripts/install-system-packages test
	@scripts/make-environment $(VENV) test,check
	@rm -f .coverage .coverage.*
	$(VENV)/bin/coverage run -m pytest -n $(AT_ONCE) --dist loadfile $(PYTEST_ARGS)
	@$(VENV)/bin/coverage combine -q && $(VENV)/bin/coverage report

check:
	@scripts/install-system-packages run
	@scripts/make-environment $(VENV) test,check
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

licences:
	@scripts/make-environment .venv-run -
	@scripts/make-environment $(VENV) test,check
	$(VENV)/bin/python scripts/licence_report.py .venv-run/bin/python

bench:
	@scripts/make-environment $(VENV) test,check
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(VENV)/bin/python $$bench || exit 1; done

chaos:
	@scripts/make-environment $(VENV) test,check
	$(VENV)/bin/python tests/chaos/chaos.py --seconds $(SECONDS)

soak:
	@scripts/install-system-packages test
	@scripts/make-environment $(VENV) test,check
	$(VENV)/bin/python tests/soak/soak.py --seconds $(SECONDS)

faults:
	@scripts/install-system-packages ci
	@scripts/make-environment $(VENV) test,check
	$(VENV)/bin/python tests/faults/faults.py

install:
	@scripts/install-system-packages run
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" EXTRAS="$(EXTRAS)" scripts/install

man:
	@scripts/install-system-packages run
	@[ -x $(VENV)/bin/streamcls ] || scripts/make-environment $(VENV) -
	@scripts/install-manuals $(VENV)/bin/python build/share && find build/share -type f

deb:
	@scripts/build-deb

clean:
	rm -rf .venv .venv-* build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis node_modules
