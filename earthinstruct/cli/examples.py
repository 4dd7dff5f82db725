"""Examples of each verb, for its help: command lines without the program's name."""

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "evaluate": (
        "evaluate --method instructsam",
        "evaluate --method instructsam -M preset=paper-gpt4o --dataset dior --setting open_vocabulary --limit 100",
        "evaluate --method path/file.py:MyMethod --dataset annotations.json --workers 2",
        "evaluate --config runs/scenes/open_vocabulary/instructsam/run.yaml",
    ),
    "score": (
        "score predictions.jsonl --dataset dior --setting open_vocabulary",
        "score results.json --dataset annotations.json --setting open_vocabulary --sweep cross",
    ),
    "predict": (
        'predict --method instructsam scene.tif --categories "ship, harbor" --save found.gpkg',
        "predict --method instructsam photos/ --open-ended --json answers.jsonl",
    ),
    "compare": (
        "compare runs/scenes/open_vocabulary/instructsam runs/scenes/open_vocabulary/instructsam-nearest",
        "compare runs/dior/open_vocabulary/mine runs/dior/open_vocabulary/other runs/dior/open_vocabulary/third "
        "--format latex",
    ),
    "report": (
        "report runs/scenes/open_vocabulary/instructsam",
        "report runs/scenes/open_vocabulary/instructsam --figures figures",
    ),
    "export": (
        "export runs/scenes/open_vocabulary/instructsam predictions.coco.json",
        "export runs/scenes/open_vocabulary/instructsam results.json --results",
    ),
    "check": (
        "check runs --against guarded",
        "check runs --against guarded --update",
    ),
    "validate": ("validate runs/scenes/open_vocabulary/instructsam",),
    "leaderboard build": ("leaderboard build",),
    "leaderboard check": ("leaderboard check",),
    "leaderboard add": ("leaderboard add runs/dior/open_vocabulary/my-method",),
    "list": ("list methods", "list methods instructsam", "list tasks --json"),
    "weights list": ("weights list",),
    "weights fetch": ("weights fetch sam2_hiera_l",),
    "data scenes": ("data scenes my-scenes --images 200 --size 1024",),
    "data prepare dior": ("data prepare dior DIOR --split val",),
    "data prepare nwpu": ("data prepare nwpu NWPU",),
    "data fetch": ("data fetch dior-mini",),
    "check-method": ("check-method path/file.py:MyMethod -M device=cuda",),
    "new-method": ("new-method my-method",),
    "doctor": ("doctor", "doctor --method instructsam -M preset=paper-qwen"),
    "completion": ("completion bash > ~/.local/share/bash-completion/completions/earthinstruct",),
}
