"""Systems to study: classic ones with known answers, and the dynamics of learning networks, a folder a paper.

`classics` holds the first, `weight_dynamics`, `training_chaos`, `training_response` and `layer_dynamics` the papers: in
each, what moves, what is computed (`study` or `experiments`), what the paper claims beside what we find (`claims`), the
`figures` and the REPORT.md that `report` or `protocol` writes. What they share: `networks` (layers, losses, data,
gradient flows), `activations`, `reporting`. `cli` is the command.
"""

if __name__ != "dynsys.models":  # a module with two names would be two modules, and its classes two of each
    raise ImportError(
        "this is dynsys.models, and goes by that name alone; a folder models/ of your own needs an __init__.py to come "
        "before it where dynsys is installed as editable"
    )
