"""Keeps the notebook's file free of outputs: they are for the eye, and a look must not show up as a change."""

import warnings

c = get_config()  # noqa: F821, given by Jupyter


def without_outputs(model, **_):
    if model["type"] != "notebook":
        return
    content = model["content"]
    # Written here, not taken from the kernel: Jupyter adds which Python looked last.
    content["metadata"] = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in content["cells"]:
        cell["metadata"].pop("trusted", None)
        cell["metadata"].pop("execution", None)
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None


# Jupyter sets it twice, and wonders about itself.
warnings.filterwarnings("ignore", "Overriding existing pre_save_hook")
c.ContentsManager.pre_save_hook = without_outputs
