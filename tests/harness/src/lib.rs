//! Private servers, scratch folders, agent processes, receivers and conformance suites for tests.
