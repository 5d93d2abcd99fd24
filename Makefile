# Everything runs in .venv; any target that needs it sets it up first.
PYTHON ?= python3
PYTHONS := 3.11 3.12 3.13
PLATFORM := $(shell uname -sm)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
LOCK := env/requirements-linux-x86_64.txt
PIP := $(PY) -m pip --disable-pip-version-check -qq install
TEST := $(CURDIR)/.cache/test

# The shell reads these from its environment ("$$cfg"): blanks and apostrophes stay what they are.
cfg ?= sthv1
shared ?= ../shared
export cfg shared

# Whatever is given as NAME=VALUE, but for make's own: parameters of a notebook, which checks them.
GIVEN := $(filter-out PYTHON,$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v)))
NOTEBOOKS := train evaluate data profile ablate compare parity shift predict online detect
notebook = $(PY) -m tsmlib notebook $(1) $(foreach v,$(GIVEN),"$v=$$$v")
# $(call uses,NAMES): other targets refuse what they do not use.
uses = $(foreach v,$(filter-out $(1),$(GIVEN)),echo "make $@ does not use '$v'; it uses: $(or $(1),no variables)" >&2; exit 1;)
flags = $(foreach v,$(filter $(1),$(GIVEN)),--$(subst _,-,$v) "$$$v")
executed = $(PY) -m papermill -k python3 notebooks/$(1).ipynb "$(TEST)/executed/$(1).ipynb"

.PHONY: help env $(NOTEBOOKS) rows lists frames check reproduce verify bench publish \
	chaos fuzz soak lab test notebooks real-check lock clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
env: $(READY) ## set up .venv with the pinned versions (PYTHON=python3.12 to choose another Python)
	@echo "$(VENV) is ready: $$($(PY) --version)"

train: ## train a row: cfg=sthv1 [data= scale= seed= fresh=True lr= epochs=, or any other field]
evaluate: ## test a row: cfg=sthv1 [checkpoint=auto protocol=published data= scale=]
data: ## look at a row's data: cfg=sthv1 [data=]
profile: ## what a row costs here and as published: cfg=sthv1 [scale=full]
ablate: ## run a study of results/plan.yaml: study=shift [only= seeds= processes= data_root=]
compare: ## set your runs beside the published tables
shift: ## the shift on one page, to read first
predict: ## classify videos by the newest weights of your own: videos=CLIP.mp4
online: ## a one-way network on streams: cfg=sthv1_online [weights= streams=]
detect: ## a detector with the one-way shift beside the 2-D detector [seed= video=]
$(NOTEBOOKS): $(READY)
	@$(call notebook,$@)
rows: $(READY) ## run all 36 rows, on what is there [only="sthv1 k400" seed= data= scale= processes=]
	@$(call uses,only seed data scale processes args) $(PY) -m tsmlib study rows $(if $(only),--only $(only)) \
		$(call flags,seed data scale processes) $(args)

lists: ## write a row's list files from the official annotations: cfg=sthv1
frames: ## extract a row's raw frames from its videos: cfg=k400
check: ## say what of a row's data is there, missing, or damaged: cfg=k400
lists frames check: $(READY)
	@$(call uses,cfg data_root args) $(PY) -m tsmlib data $(subst frames,extract,$@) "$$cfg" $(call flags,data_root) $(args)
reproduce: $(READY) ## evaluate published weights: row=sthv1 [checkpoint=published]
	@$(call uses,row checkpoint data_root args) test -n "$$row" || { echo "Which row? make reproduce row=sthv1" >&2; exit 1; }
	@$(PY) -m tsmlib reproduce "$$row" $(call flags,checkpoint data_root) $(args)
verify: $(READY) ## recompute all records from their scores
	@$(call uses,args) $(PY) -m tsmlib verify $(args)
publish: $(READY) ## copy a run's record into results/runs: run=results/local/sthv1/...
	@$(call uses,run) test -n "$$run" || { echo "Which run? make publish run=results/local/sthv1/..." >&2; exit 1; }
	@$(PY) -m tsmlib report publish "$$run"
bench: $(READY) ## measure ours beside a rendering of the published code, in one run of minutes
	@$(call uses,args) $(PY) -m tsmlib bench $(args)
chaos: $(READY) ## kill a small study in all its phases, and compare what reruns end with [kills=100 seed=0]
	@$(call uses,kills seed) $(PY) tests/reliability/chaos.py $(call flags,kills seed)
fuzz: $(READY) ## read lists, YAML, records, weights and videos that are damaged or hostile [files=1300 examples=1000 seed=0]
	@$(call uses,files examples seed) $(PY) tests/reliability/fuzz.py $(call flags,files examples seed)
soak: $(READY) ## train, evaluate, decode and follow streams in turn, and watch memory [seconds=600 seed=0]
	@$(call uses,seconds seed) $(PY) tests/reliability/soak.py $(call flags,seconds seed)
lab: $(READY) ## open the notebooks in JupyterLab
	@$(PY) -m jupyterlab notebooks $(args)

# The notebooks run on a stand-in (no data there), with the numbers of tests/notebooks, and write into
# TEST only. The two that train come first, so that none is alone at the end; the others, the longest
# of them first, follow the tests: they wait for what train.ipynb trains. One process more than there
# are cores, as tests wait for processes of their own.
FIRST := notebooks/train.ipynb notebooks/online.ipynb
THEN := notebooks/parity.ipynb notebooks/ablate.ipynb
LAST := $(filter-out $(FIRST) $(THEN),$(wildcard notebooks/*.ipynb))
test: $(READY) ## check style, layers and types; run the tests and every notebook [args="-k shift"]
	@rm -rf "$(TEST)" && mkdir -p "$(TEST)/data" "$(TEST)/results" "$(TEST)/executed"
	@cp -r results/runs results/benchmarks "$(TEST)/results/"
	@mkdir -p "$(TEST)/ipython/profile_default/startup" && cp tests/notebooks/startup.py "$(TEST)/ipython/profile_default/startup/"
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" TSM_DATA="$(TEST)/data" TSM_RESULTS="$(TEST)/results" IPYTHONDIR="$(TEST)/ipython" \
		PYTEST_FOLDERS=given $(PY) -m pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist loadfile --no-loadscope-reorder --nbval-lax \
		--nbval-sanitize-with tests/notebooks/sanitize.cfg --durations=10 $(FIRST) tests $(THEN) $(LAST) $(args)

# The committed notebooks show a real run with their defaults; compare shows published runs alone.
# They are put in place at the end: until then the records that they write are of a commit.
notebooks: $(READY) ## execute the committed notebooks anew, in place
	@test ! -e results/local || { echo "results/local holds runs that the notebooks would take over: move it away first" >&2; exit 1; }
	@rm -rf "$(TEST)" && mkdir -p "$(TEST)/results" "$(TEST)/executed" && cp -r results/runs results/benchmarks "$(TEST)/results/"
	@$(foreach name,shift train evaluate predict online detect data ablate parity profile,$(call executed,$(name)) &&) true
	@export TSM_RESULTS="$(TEST)/results" && $(call executed,compare)
	@mv "$(TEST)"/executed/*.ipynb notebooks/ && $(PY) -m tsmlib.notebook notebooks/*.ipynb
real-check: $(READY) ## check against real data and published outputs: shared=../shared
	@$(PY) tests/real_check.py --shared "$$shared"
lock: ## refresh the pinned versions (env/README.md)
	@$(PYTHON) env/lock.py
clean: ## remove caches and generated clips; .venv, results and downloaded weights stay
	@test ! -d .cache || find .cache -mindepth 1 -maxdepth 1 ! -name weights -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache build *.egg-info
	@find tsmlib tests notebooks env \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Kernels of this environment print no warnings into the terminal: one at each start, of encryption.
# The stamp comes last, so whatever was interrupted before it starts anew at the next call; a
# changed lock is installed over what is there. The lock is for Linux x86-64: elsewhere the
# direct dependencies decide, with the lock's torch pair.
ifeq ($(PLATFORM),Linux x86_64)
WHAT = $(shell grep -c == $(LOCK)) pinned packages, about 6 GB
INSTALL = $(PIP) -r $(LOCK) --require-hashes && $(PIP) --no-deps --no-build-isolation -e .
else
WHAT = pyproject.toml's packages, as the lock is for Linux x86_64 and this is $(PLATFORM)
INSTALL = $(PIP) -e '.[notebooks,dev]' $(shell sed -nE 's/^(torch(vision)?==[^ ]+).*/\1/p' $(LOCK))
endif

$(READY): $(LOCK) pyproject.toml $(if $(realpath $(PY)),,FORCE)
	@found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	case " $(PYTHONS) " in *" $${found:-none} "*) ;; *) \
		echo "$(VENV) needs one of Python $(PYTHONS), and '$(PYTHON)' is $${found:-not there}." \
			"Choose another: make env PYTHON=python3.12" >&2; exit 1;; esac
	@echo "Setting up $(VENV): $(WHAT). This takes about 2 minutes, once."
	@{ test -e $@ && $(PY) -m pip --version; } >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $@
	@$(INSTALL)
	@mkdir -p $(VENV)/etc/ipython && cp env/ipython_kernel_config.json $(VENV)/etc/ipython/
	@mkdir -p $(VENV)/etc/jupyter && cp env/jupyter_nbconvert_config.json $(VENV)/etc/jupyter/
	@$(PY) -I -c 'import torch, torchvision, decord, tsmlib'
	@touch $@
