"""Systems to study: classic ones with known answers, and the dynamics of learning networks, a folder a paper.

`classics` holds the first, `weight_dynamics`, `training_chaos`, `training_response` and `layer_dynamics` the papers: in
each, what moves, what is computed (`study` or `experiments`), what the paper claims beside what we find (`claims`), the
`figures` and the REPORT.md that `report` or `protocol` writes. What they share is here: `activations`, `losses`,
`perceptron` and `deep_network` (networks of any depth), `tasks` (data), `report` and `terminal`. `cli` is the command.
"""
