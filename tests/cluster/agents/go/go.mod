module agentrun.dev/tests/cluster/agents/go

go 1.22
