"""Real clusters on one machine, for tests of the engines that run work on clusters."""
