# make demo: set up, render a small captioned world, mine it, adapt a CLIP, segment a scene, show the results.
# make test: set up, run lint, types and tests. make quick: the same without the slow tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := out/demo
TRUTH := $(foreach name,instances stuff,--truth $(DEMO)/world/$(name).json) --synonyms $(DEMO)/world/classes.json
WORDS := sky, snow, christmas tree, alien, orangutan, flip-flop, dog, boat
CLIP := out/clip
GENERATOR := out/generator
STAMP := $(VENV)/.installed

.PHONY: demo clip generator test quick lint types clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@echo "Installing into $(VENV): about 7 GB, some minutes without a word."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	test -f $(DEMO)/world/captions.json || $(BIN)/maskmine world --out $(DEMO)/world --images 48 --seed 7
	rm -rf $(DEMO)/mined $(DEMO)/mined-true-masks
	$(BIN)/maskmine build manifests/build/demo.yaml --out $(DEMO)/mined
	$(BIN)/maskmine verify $(DEMO)/mined
	$(BIN)/maskmine show $(DEMO)/mined
	$(BIN)/maskmine audit $(DEMO)/mined $(TRUTH)
	@echo; echo "The same again with the scenes' true masks as proposals: how much the masks decide."
	$(BIN)/maskmine build manifests/build/demo.yaml --out $(DEMO)/mined-true-masks --set 'proposals.proposer={kind: ground_truth}' \
		--set 'source.masks=[$(DEMO)/world/instances.json, $(DEMO)/world/stuff.json]'
	$(BIN)/maskmine audit $(DEMO)/mined-true-masks $(TRUTH)
	@echo; echo "A CLIP adapted to masked regions, tested on names that it met in mining and on names that it did not."
	rm -rf $(DEMO)/ablation
	$(BIN)/python -m benchmarks.ablation --short --out $(DEMO)/ablation
	@echo; echo "A scene segmented by words, with the adapted CLIP."
	$(BIN)/maskmine segment $(DEMO)/world/images/0000003.jpg --classes "$(WORDS)" --config manifests/segment/world.yaml \
		--set clip.weights=$(DEMO)/ablation/240-400-40x32/seed0/runs/ft/last --out $(DEMO)/segmented
	@echo; echo "Done. You saw captioned scenes become pairs of mask and noun, a CLIP learn from such pairs to name masked regions,"
	@echo "and a scene segmented by words. Look at:"
	@echo "  $(DEMO)/mined/report.html, $(DEMO)/mined-true-masks/report.html   the pairs, in a browser"
	@echo "  $(DEMO)/segmented/0000003.overlay.png                           the scene"
	@echo "Next, on your own photos (source $(BIN)/activate):"
	@echo "  maskmine build photos.yaml --out mined           photos.yaml: see \"Mine your own photos\" in README.md"
	@echo "  maskmine train manifests/train/coco-vit-b-16.yaml --out run    with SHARDS=mined: adapts a CLIP to masked regions"
	@echo "  maskmine segment photo.jpg --classes \"sea, boat, sofa|couch\"   models are downloaded at their first use"

# The world's own mask generator, anew: an hour on 2 cores. pipeline/world/generator holds the one that it gave.
generator: $(STAMP)
	test -f $(GENERATOR)/world/captions.json || (rm -rf $(GENERATOR)/world && $(BIN)/maskmine world \
		--out $(GENERATOR)/world --images 40000 --seed 500000 --workers 2)
	$(BIN)/maskmine train manifests/train/world-generator.yaml --out $(GENERATOR)/run

# The world's own CLIP, anew: an hour on 2 cores. pipeline/world/clip holds the one that it gave.
clip: $(STAMP)
	test -f $(CLIP)/captioned/LICENSE.txt || (rm -rf $(CLIP)/captioned && $(BIN)/maskmine world --captioned \
		--out $(CLIP)/captioned --images 160000 --seed 1000 --workers 2 \
		--set size_px=128 --set single_object=0.6 --set 'single_object_side=[0.2, 1.2]')
	$(BIN)/maskmine train manifests/train/world-clip.yaml --out $(CLIP)/run

test: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# For everyday work: what needs neither Ray nor training.
quick: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
