"""Saves the notebook with the plots of its file and no other outputs, so that running it does not change the file."""

import json
import os
import warnings

c = get_config()  # noqa: F821, given by Jupyter


def plots_of(file):
    """The outputs of a notebook file, by cell."""
    if not os.path.exists(file):
        return {}
    with open(file) as notebook:
        return {cell["id"]: cell["outputs"] for cell in json.load(notebook)["cells"] if cell["cell_type"] == "code"}


def with_plots_of_the_file(model, path, contents_manager, **_):
    if model["type"] != "notebook":
        return
    content = model["content"]
    plots = plots_of(os.path.join(contents_manager.root_dir, path.lstrip("/")))
    # Fixed metadata, because Jupyter would add the Python version of the last run.
    content["metadata"] = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in content["cells"]:
        cell["metadata"].pop("trusted", None)
        cell["metadata"].pop("execution", None)
        if cell["cell_type"] == "code":
            cell["outputs"] = plots.get(cell["id"], [])
            cell["execution_count"] = None


# Jupyter sets the hook twice, and warns about it.
warnings.filterwarnings("ignore", "Overriding existing pre_save_hook")
c.ContentsManager.pre_save_hook = with_plots_of_the_file
