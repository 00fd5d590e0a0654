# A recipe a task; `just` lists them.

_list:
    @just --list

# Check formatting, lints and dependencies as CI does
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features agentrun-tests/cluster --locked -- -D warnings
    cargo deny check bans licenses sources

# Format the sources
format:
    cargo fmt --all

# Run every test, installing what is missing
test:
    tests/run

# Run the tests of one crate: `just unit llm`
unit crate:
    cargo test --package agentrun-{{crate}}

# Run the real clients alone: `just clients openai`
clients name="":
    cargo test --package agentrun-tests --test main -- clients::{{name}}

# Install the real clients of the system tests
sdks:
    tests/sdk/install

# Serve the test origin and tell its port and its certificate authority
origin:
    cargo run --package agentrun-tests --bin agentrun-test-origin

# Evaluate the quickstart without paying for a call
quickstart:
    cargo run --release -- run -f examples/quickstart/agentrun.yaml --simulate

# Start the tests' Kubernetes with AgentRun on it, and leave it running; `eval "$(tests/cluster/cluster env)"` to use it
cluster:
    cargo build --workspace --bins --locked
    tests/cluster/prepare target/x86_64-unknown-linux-gnu/debug

# Run the tests on the cluster that runs: `just on-cluster example`
on-cluster name="":
    cargo test --package agentrun-tests --features cluster --test cluster -- --test-threads=4 {{name}}

# Pack the images as they are shipped into target/images, without a container engine
images: dist
    images/build target/x86_64-unknown-linux-gnu/dist

# Build the programs as they are shipped
dist:
    cargo build --profile dist --locked -p agentrun -p agentrun-sidecar -p agentrun-operator -p agentrun-hub
