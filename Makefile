# make demo    install everything, generate data, train, test, draw; minutes on a CPU
# make test    the same environment, then the whole test suite, which fails where it reaches less than 90 % of the lines
# STACK=openmmlab uses the original OpenMMLab packages, in an environment of its own (mmcv compiles for minutes).

STACK ?= onedl
PYTHON ?= python3
VENV ?= $(if $(filter onedl,$(STACK)),.venv,.venv-$(STACK))
BIN := $(abspath $(VENV))/bin
PIP := "$(BIN)/python" -m pip --disable-pip-version-check
INSTALL := $(PIP) install -c constraints.txt
TORCH ?= torch==2.13.0
WORKERS ?= 2

DEMO := configs/deeplabv3plus_mobilenetv2_demo.py
DEMO_WORK := work_dirs/demo

.PHONY: install demo test lint clean

install: $(VENV)/.installed

ifeq ($(STACK),openmmlab)
MMCV := $(INSTALL) 'setuptools<81' wheel ninja psutil; \
    MMCV_WITH_OPS=1 $(INSTALL) --no-build-isolation mmcv==2.1.0;
endif

# torch first: mmcv is compiled against it, and nothing after it may bring another one. pydensecrf2 is compiled meanwhile.
$(VENV)/.installed: setup.py constraints.txt mmseg_deeplab/stack.py
	@test $(STACK) = onedl -o $(STACK) = openmmlab || { echo "STACK=$(STACK): choose onedl or openmmlab"; exit 2; }
	test -x "$(BIN)/python" || $(PYTHON) -m venv $(VENV)
	$(PIP) wheel -c constraints.txt --no-deps -w $(VENV)/wheels pydensecrf2 > $(VENV)/crf.log 2>&1 & \
	    set -e; $(INSTALL) $(TORCH) numpy; $(MMCV) $(INSTALL) -e '.[$(STACK),export,test]'; wait
	@$(PIP) install --no-deps --no-index --find-links $(VENV)/wheels pydensecrf2 >> $(VENV)/crf.log 2>&1 || \
	    echo 'pydensecrf2 does not build here (see $(VENV)/crf.log): the CRF runs without its pydensecrf backend'
	"$(BIN)/python" -c 'import mmseg_deeplab.plugin'
	touch $@

demo: install
	"$(BIN)/python" tools/make_demo_dataset.py data/demo
	"$(BIN)/python" tools/train.py $(DEMO) --work-dir $(DEMO_WORK)
	"$(BIN)/python" tools/test.py $(DEMO) "$$(cat $(DEMO_WORK)/last_checkpoint)" \
	    --work-dir $(DEMO_WORK)/test --show-dir $(DEMO_WORK)/pictures
	@ls "$(CURDIR)/$(DEMO_WORK)/pictures/"*.png | head -n 3
	@echo 'Expect a mIoU of 45 to 55: it depends on the kind of CPU (measured: 46.92 to 52.58; other seeds: 45.55, 51.11).'

test: install
	OMP_NUM_THREADS=1 "$(BIN)/python" -m slipcover --source mmseg_deeplab --json --out coverage.json \
	    -m pytest -n $(WORKERS)
	@"$(BIN)/python" -m slipcover --merge coverage.json --out coverage.json --fail-under 90 > coverage.txt; \
	    status=$$?; echo 'lines, without a test, percent with one (90 are asked for; by file: coverage.txt):'; \
	    tail -n 1 coverage.txt; exit $$status

lint: install
	"$(BIN)/ruff" check . && "$(BIN)/ruff" format --check . && "$(BIN)/ty" check mmseg_deeplab

clean:
	rm -rf .venv .venv-openmmlab work_dirs/demo
