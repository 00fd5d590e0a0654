# A recipe a task; `just` lists them.

_list:
    @just --list

# Check formatting, lints and dependencies as CI does
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
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

# Build the programs as they are shipped
dist:
    cargo build --profile dist --locked
