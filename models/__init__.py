"""Systems to study: classic ones with known answers, and the dynamics of learning networks, a folder a paper.

`classics` holds the first, `weight_dynamics`, `training_chaos`, `training_response` and `layer_dynamics` the papers: in
each, what moves, what is computed (`study` or `experiments`), what the paper claims beside what we find (`claims`), the
`figures` and the REPORT.md that `report` or `protocol` writes. What they share: `networks` (layers, losses, data,
gradient flows), `activations`, `reporting`. `cli` is the command.
"""

if __name__ != "dynsys.models":  # a module with two names would be two modules, and its classes two of each
    raise ImportError("the systems and studies of dynsys are imported as dynsys.models, not as models")
