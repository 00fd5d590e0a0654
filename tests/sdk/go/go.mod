module agentrun-sdk-tests

go 1.22
