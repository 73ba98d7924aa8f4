"""The examples that each command's help ends with. Patterns are quoted, as they have to be."""

EXPLAIN = """\
  workbench explain 'M[*-]M[ME]|M-*-/[*-]'
  workbench explain 'M-M*-ME' --json
  workbench explain 'M-M*-ME' --html -o pattern.html
"""

VERIFY = """\
  workbench verify 'M[*-]M[ME]'
  workbench verify 'M[*-]' --against 'M*-' --dtype bf16 --atol 1e-3
  workbench verify 'M[*-]' --html verdict.html --output verdict.json
"""

TRAIN = """\
  workbench train 'M[*-]M[ME]' --minutes 2
  workbench train 'M[*-]M-' --data notes.txt --steps 2000 --directory run
  workbench train 'M[*-]M-' --data notes.txt --steps 2000 --directory run --resume
  workbench train '[*-][*-]' --twin --steps 200 --chart twins.svg
"""

SWEEP = """\
  workbench sweep 'MMMM' 'M*MM' '[M-][*-]' --data mqar:pairs=16 --steps 400 --chart recall.svg
  workbench sweep 'M-M-' '[*-][*-]' --equal flops --quality loss --steps 300 --html sweep.html
  workbench sweep 'GG' 'MM' --data state-tracking --seeds 1 2 3 4 5 --json
"""

COMPARE = """\
  workbench compare '[*-]' --repeat 24 --regime host
  workbench compare 'M[*-]M[ME]' --html speed.html --output speed.json
  workbench compare '[M-][*-]' --against '[M-]*-' --seconds 60 --threads 1
  workbench compare '[*-]' --against '[*-]' --repeat 24    (a model against itself: chance alone)
"""

PRESETS = """\
  workbench presets
  workbench presets llama-3-8b
  workbench presets --json
"""

COST = """\
  workbench cost Nemotron-3-Super-120B-A12B
  workbench cost 'M[*-]M[ME]' --sizes sizes.json --sequence-length 8192
  workbench cost deepseek-v3 --tensor-parallel 8 --expert-parallel 64 --data-parallel 64
  workbench cost path/to/config.json --details
  workbench cost train_hybrid.sh --json
"""

BALANCE = """\
  workbench balance nemotron-h-56b --stages 8
  workbench balance 'M[*-]M[ME]' --stages 2 --by parameters
"""

REPORT = """\
  workbench report 'M[*-]M[ME]' -o review.html
  workbench report 'M[*-]M[ME]' --against 'M*-MME' --verdict verdict.json -o review.html
  workbench report nemotron-h-56b --tensor-parallel 8 -o review.html
"""

DRAW = """\
  workbench draw 'M[*-]M[ME]|M-*-/[*-]' -o pattern.svg
  workbench draw 'M[*-]M[ME]' --view graph --theme dark -o blocks.png
  workbench draw nemotron-h-56b --fold -o figure.pdf
  workbench draw qwen3-next-80b-a3b -o page.html
  workbench draw 'M[*-]M-' --format dot | dot -Tsvg > graph.svg
"""

INSPECT = """\
  workbench inspect model.safetensors
  workbench inspect checkpoints/iter_0001000 --against 'M[*-]M[ME]' --sizes sizes.json
  workbench inspect release/ --against nemotron-h-8b --json
  workbench inspect checkpoints/ --details --html -o checkpoint.html
"""

DIFF = """\
  workbench diff before.safetensors after.safetensors
  workbench diff checkpoints/iter_0001000 checkpoints/iter_0002000 --only 'decoder.layers.7.*' --details
  workbench diff fused/ unfused/ --rtol 1e-3 --html difference.html --output difference.json
  workbench diff model.pt checkpoints/ --names-only --json
"""

CONVERT = """\
  workbench convert fused.safetensors canonical.safetensors --to canonical
  workbench convert canonical.safetensors fused.safetensors --to fused --pattern '[*-]M-' --names local
  workbench convert checkpoints/iter_0001000 model.safetensors --to canonical
  workbench convert model.safetensors checkpoints/iter_0000000 --to canonical --format torch_dist
  workbench convert checkpoints/iter_0001000 grouped/ --to grouped --link
  workbench convert gpt/iter_0001000 hybrid/iter_0001000 --to canonical --dry-run
"""
