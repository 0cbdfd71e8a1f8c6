"""Many members: parameters and initial states of their own, in blocks over any executor, streamed to a store."""
