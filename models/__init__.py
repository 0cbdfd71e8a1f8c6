"""Systems to study: classic ones with known answers, and the dynamics of learning networks, a folder a paper."""
