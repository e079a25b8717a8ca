# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to a running system, all of it inside this folder:
#   make demo [ARGS=--live]     simulated camera, node and command sender; ARGS=--pick: a robot picks
#   make test [ARGS="-k name"]  make lint (where the lock file pins its tools), then pytest: the whole
#                               suite in two processes, what ARGS chooses in one
#   make lint                   ruff, mypy and the layers of the package (import-linter)
#   make slow                   the tests that take minutes, which `make test` skips
#   make quantized              the tests of quantised models, with torchao beside the environment: where it is
#                               installed, transformers imports it everywhere, and it prints warnings
#   make lerobot                the tests with the lerobot package, in an environment of its own: it needs an older
#                               torch and huggingface-hub than this package
#   make parity                 compare with the original implementation, up to the 1B and 2B dimensions
#   make sbom                   write build/sbom.json: all that is installed, and the model (CycloneDX)
#   make lock                   resolve requirements/*.txt anew into requirements/lock*.txt
#   make parameters             write config/*.yaml and the table in docs/parameters.md
#   make                        only set up and build;  make clean  removes everything made here
# Without ROS 2: Python 3.11 (or another one named by PYTHON=) and ROS 2 from wheels, from the lock files:
#   make ROS_WHEELS=kilted      Kilted instead of Jazzy, also with the targets above
# With ROS 2 sourced (ROS_DISTRO set): its Python and its packages; pip adds what is missing.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: build demo test slow quantized lerobot parity lint lock sbom parameters clean FORCE

ifneq ($(words $(CURDIR)),1)
  $(error The path of this folder has a space in it, which make and CMake cannot build in: $(CURDIR))
endif
V := $(CURDIR)/.venv
WHEELS := $(patsubst requirements/ros_%.txt,%,$(wildcard requirements/ros_*.txt))
CORE := $(foreach part,core sim console speech recordings lerobot,requirements/$(part).txt)
ifdef ROS_DISTRO
  export PYTHON ?= python3
  FLAVOUR := $(ROS_DISTRO)
  REQUIREMENTS := $(CORE) requirements/test.txt
  CREATE_VENV := $(PYTHON) -m venv --system-site-packages
  INSTALL := $(V)/bin/python tools/install_ranges.py $(REQUIREMENTS)
else
  export PYTHON ?= python3.11
  ROS_WHEELS ?= jazzy
  ifeq ($(wildcard requirements/lock_$(ROS_WHEELS).txt),)
    $(error ROS_WHEELS=$(ROS_WHEELS): no wheels of this distribution; there are: $(WHEELS))
  endif
  FLAVOUR := wheels_$(ROS_WHEELS)
  REQUIREMENTS := $(foreach part,lock lock_$(ROS_WHEELS) lock_sources lock_cpu lock_cuda,requirements/$(part).txt)
  CREATE_VENV := $(PYTHON) -m venv
  LINT := lint
  INSTALL := $(V)/bin/python tools/install_lock.py requirements $(ROS_WHEELS) \
             && $(V)/bin/python tools/fix_cmake_exports.py
  # The message of TF is not among the wheels.
  MORE_PACKAGES := tools/tf2_msgs
  # The wheels fill the virtual environment like an installation prefix of ROS 2.
  BUILD_ENV := AMENT_PREFIX_PATH=$(V) CMAKE_PREFIX_PATH=$(V)
  RUN_ENV := export AMENT_PREFIX_PATH=$$AMENT_PREFIX_PATH:$(V) &&
  # Set by a Python that runs from other ROS 2 wheels; ours would believe that its own libraries are found.
  unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
endif
READY := $(V)/ready-$(FLAVOUR)
BUILT := build/built-$(FLAVOUR)
# Both would go to the home folder.
export ROS_LOG_DIR ?= $(CURDIR)/log/ros
export MESA_SHADER_CACHE_DIR ?= $(CURDIR)/build/mesa_shader_cache
SOURCED := source install/local_setup.bash && $(RUN_ENV)

build: $(BUILT)

demo: $(BUILT)
	@PYTHON=$(V)/bin/python tools/check_machine.sh camera
	@$(SOURCED) install/lib/mllmseg_ros/demo $(ARGS)

test: export OMP_NUM_THREADS ?= 1
test: ARGS ?= -n 2 --dist loadfile
# The first entry of sys.path would be this folder, which hides the installed package and its messages.
test: $(LINT) $(BUILT)
	@PYTHON=$(V)/bin/python tools/check_machine.sh camera || echo "Tests that render are skipped."
	@$(SOURCED) $(V)/bin/python -c 'import sys; del sys.path[0]; import pytest; sys.exit(pytest.main())' $(ARGS)

# All of tests/parity, with the dimensions of the published 1B and 2B models: 10 minutes of processor
# time (28 minutes on two cores with other work), 14.3 GB of memory, 4.5 GB in the temporary folder.
# ARGS="-k 'not 2b'" needs 6.7 GB of memory and half of the time.
parity: $(BUILT)
	@$(SOURCED) $(V)/bin/python -c 'import sys; del sys.path[0]; import pytest; sys.exit(pytest.main())' \
	  -m "parity_full or not parity_full" -s tests/parity $(ARGS)

slow: export MLLMSEG_SLOW := 1
slow: $(BUILT)
	@$(SOURCED) $(V)/bin/python -c 'import sys; del sys.path[0]; import pytest; sys.exit(pytest.main())' \
	  -m slow tests $(ARGS)

lerobot: $(BUILT)
	test -x build/lerobot/bin/python || $(PYTHON) -m venv build/lerobot
	build/lerobot/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes --no-deps \
	  --only-binary=:all: -r requirements/lock_lerobot.txt
	@$(SOURCED) MLLMSEG_SLOW=1 MLLMSEG_LEROBOT_PYTHON=$(CURDIR)/build/lerobot/bin/python $(V)/bin/python \
	  -c 'import sys; del sys.path[0]; import pytest; sys.exit(pytest.main())' \
	  tests/unit/recording/test_lerobot_package.py $(ARGS)

quantized: export PYTHONPATH := $(CURDIR)/build/torchao:$(PYTHONPATH)
quantized: $(BUILT)
	$(V)/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes --no-deps --only-binary=:all: \
	  --upgrade --target build/torchao -r requirements/lock_quantize.txt
	@$(SOURCED) $(V)/bin/python -c 'import sys; del sys.path[0]; import pytest; sys.exit(pytest.main())' \
	  tests/unit/model/test_quantization.py tests/unit/checkpoints/test_quantizing.py \
	  tests/cuda/test_cuda_quantization.py $(ARGS)

lint: $(READY)
	@$(V)/bin/python -m ruff check .
	@$(V)/bin/python -m ruff format --check .
	@$(V)/bin/python -m mypy
	@$(V)/bin/lint-imports --no-cache

$(READY): $(REQUIREMENTS) tools/fix_cmake_exports.py tools/install_lock.py tools/install_ranges.py
	@tools/check_machine.sh build
	@other=$$(ls $(V)/ready-* 2>/dev/null | grep -v -- '-$(FLAVOUR)$$'); if [ -n "$$other" ]; then \
	  echo "This folder was set up for '$${other##*-}', not for '$(FLAVOUR)': make clean, or use another clone." >&2; \
	  exit 1; fi
	$(V)/bin/python -m pip --version >/dev/null 2>&1 || $(CREATE_VENV) $(V)
	@touch $(V)/COLCON_IGNORE
	$(INSTALL)
	@touch $@

# The build links to the sources: an edited Python file needs no build, a new or removed one does.
build/sources: FORCE
	@mkdir -p build && find mllmseg_ros msg srv action config examples launch rviz -type f ! -name '*.pyc' | sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILT): $(READY) build/sources CMakeLists.txt package.xml tools/executable.in \
    $(wildcard msg/* srv/* action/* $(MORE_PACKAGES:%=%/*) $(MORE_PACKAGES:%=%/msg/*))
	@[ ! -d install ] || find install -xtype l -delete  # links to sources that are gone
	PATH=$(V)/bin:$$PATH $(BUILD_ENV) colcon build --merge-install --symlink-install \
	  --base-paths . $(MORE_PACKAGES) --cmake-args -DBUILD_TESTING=OFF -DPython3_EXECUTABLE=$(V)/bin/python
	@touch $@

# Only resolves. Not after $(READY), which would install the lock file that is about to be replaced.
lock:
	$(V)/bin/python tools/lock.py requirements $(CORE) requirements/{train,onnx,mcp,parquet,docs,test,lint,sbom,wheels}.txt

sbom: $(BUILT)
	@$(V)/bin/python tools/sbom.py build/sbom.json

parameters: $(BUILT)
	@$(SOURCED) $(V)/bin/python tools/write_parameters.py

clean:
	rm -rf .venv build install log
