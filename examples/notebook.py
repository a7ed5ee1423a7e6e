# %% [markdown]
# A LoRA step by step. Each `# %%` begins a cell: VS Code, PyCharm and Jupyter (with jupytext) open this file as a
# notebook; `python examples/notebook.py` runs it as a script. Nothing is written but a temporary folder and the cache.

# %%
import tempfile
from pathlib import Path

from engine import check_plan, load_plan, open_training, scan_data
from engine.demo.world import write_world

work = Path(tempfile.mkdtemp(prefix="sdtrain-notebook-"))
write_world(work / "pictures", 8)

# %% [markdown]
# A plan is nested tables, or a file: `load_plan("plan.toml")`. Every key is in docs/plan.md.

# %%
plan = load_plan(
    {
        "name": "notebook",
        "method": "lora",
        "base": {"model": "builtin:tiny"},
        "data": {"path": str(work / "pictures"), "resolution": 64},
        "train": {"steps": 6, "batch_size": 2, "learning_rate": 1e-3},
        "samples": {"prompts": ["a big red circle on the left"], "steps": 4},
    }
)
for problem in check_plan(plan):
    print(problem.text())

# %%
for item in scan_data(plan).items[:3]:
    print(item.rel, item.caption)

# %% [markdown]
# Without a run's folder everything stays in memory until it is saved or exported to a folder of your choice.

# %%
training = open_training(plan)
before = training.preview()
training.train(3)
print(training.step, training.losses)

# %%
saved = training.save(work / "checkpoints")
training.train(3)
after = training.preview("a small blue square", seed=5)
after.save(work / "after.png")

# %% [markdown]
# A second training goes on from the checkpoint, and gets to the same numbers.

# %%
again = open_training(plan)
again.resume(saved)
again.train()
print(again.losses == training.losses[3:])

# %%
for path in training.export(work / "files"):
    print(path.name, path.stat().st_size)
training.close()
again.close()
