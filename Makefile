# One command each. Every target installs what it needs, says what it does, and is safe to repeat.
.PHONY: demo test lint audit long bench clean packages
.DEFAULT_GOAL := help

UV := .tools/uv/bin/uv
PYTHON := .venv/bin/python

help:
	@echo "make demo    a working mesh on this machine, with traffic through it"
	@echo "make test    lint, then all tests, with real kubectl, containerd, Envoy and network namespaces"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make audit   known holes in what is locked, by PyPI's advisories"
	@echo "make long    what make test does a little of, at length: a thousand random configurations, 200 pods at once,"
	@echo "             300 pods for 300 addresses three times while nodes die,"
	@echo "             two minutes of random changes under 200 requests a second, then eight new roots under 100,"
	@echo "             and all that people type by three kubectls"
	@echo "make bench   what it costs and how fast it is, as tables"
	@echo "make clean   remove .venv, .tools and caches"

packages:
	@tools/install-packages

$(UV): tools/uv.txt | packages
	@echo "installing uv"
	@/usr/bin/python3 -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.txt

PLUGIN := src/weft/cni_plugin/istio-cni src/weft/cni_plugin/underlay

$(PLUGIN): src/weft/cni_plugin/%: src/weft/cni_plugin/%.c src/weft/cni_plugin/wire.h tools/build-plugin | packages
	@echo "building the self-contained CNI plugin $*"
	@tools/build-plugin $@

.venv/.synced: pyproject.toml uv.lock | $(UV)
	@echo "installing the locked environment"
	@$(UV) sync --quiet --locked --python /usr/bin/python3
	@touch $@

.tools/kubectl-newest/kubectl: | packages
	@tools/get-kubectl sid kubectl .tools/kubectl-newest

.tools/kubectl-1.32/kubectl: | packages
	@tools/get-kubectl trixie kubectl .tools/kubectl-1.32

.tools/kubectl-1.20/kubectl: | packages
	@tools/get-kubectl bookworm kubernetes-client .tools/kubectl-1.20

demo: packages $(PLUGIN) .venv/.synced .tools/kubectl-newest/kubectl
	@examples/demo

test: lint packages $(PLUGIN) .tools/kubectl-newest/kubectl .tools/kubectl-1.32/kubectl .tools/kubectl-1.20/kubectl
	@tools/run-tests

lint: .venv/.synced
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache > /dev/null || .venv/bin/lint-imports --no-cache

audit: .venv/.synced
	@tools/audit

long: packages .venv/.synced $(PLUGIN) .tools/kubectl-newest/kubectl .tools/kubectl-1.32/kubectl .tools/kubectl-1.20/kubectl
	@WEFT_CHURN_SECONDS=$${WEFT_CHURN_SECONDS:-120} WEFT_ROTATIONS=$${WEFT_ROTATIONS:-8} \
		WEFT_RANDOM=$${WEFT_RANDOM:-1000} WEFT_STORM=$${WEFT_STORM:-200} WEFT_FORMS=all \
		WEFT_ADDRESSES=$${WEFT_ADDRESSES:-300} tests/support/worker .venv/bin/pytest -s \
		tests/random tests/e2e/test_cni_storm.py tests/e2e/test_churn.py tests/e2e/test_root_rotation.py \
		tests/e2e/test_kubectl_forms.py tests/processes/underlay/test_ipam_storm.py

bench: packages $(PLUGIN) .venv/.synced .tools/kubectl-newest/kubectl
	@$(PYTHON) -m bench.run

clean:
	@rm -rf .venv .tools $(PLUGIN) .mypy_cache .ruff_cache .pytest_cache .hypothesis
