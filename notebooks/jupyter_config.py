"""Saves the notebook without outputs, so that running it does not change the file."""

import warnings

c = get_config()  # noqa: F821, given by Jupyter


def without_outputs(model, **_):
    if model["type"] != "notebook":
        return
    content = model["content"]
    # Fixed metadata, because Jupyter would add the Python version of the last run.
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


# Jupyter sets the hook twice, and warns about it.
warnings.filterwarnings("ignore", "Overriding existing pre_save_hook")
c.ContentsManager.pre_save_hook = without_outputs
