"""Real neighbours for the tests, each started and stopped by the test run."""
