"""One example per command, shown at the end of its `--help`."""

EXAMPLES = {
    "walk": 'tokenwalk "I prefer oat milk in" --model model5-trained',
    "generate": 'tokenwalk generate "I prefer oat milk in" -n 10 --temperature 0.7',
    "next": 'tokenwalk next "I prefer oat milk in" -k 5',
    "tokens": 'tokenwalk tokens "I prefer oat milk in"',
    "follow": "tokenwalk follow",
    "search": 'tokenwalk search "I prefer oat milk in" --model model5-trained --best 5',
    "lens": 'tokenwalk lens logit "I prefer oat milk in" --model model5-trained',
    "learn": "tokenwalk learn --check",
    "score": "tokenwalk score story.txt --model model5-trained",
    "compare": 'tokenwalk compare "I prefer oat milk in" --model model1 --with model5',
    "train": "tokenwalk train --model model3 --steps 200 --out mine",
    "world": "tokenwalk world sample -n 3",
    "bench": "tokenwalk bench --model model5-trained -n 16",
    "models": "tokenwalk models --json",
    "devices": "tokenwalk devices",
    "replay": "tokenwalk replay walk.json --dtype bf16",
    "export": "tokenwalk export walk.json --format csv",
    "serve": "tokenwalk serve --port 8321 --model model5-trained",
}
