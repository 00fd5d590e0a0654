//! Tests of the whole system; one behaviour a file.

mod agentopt_rows;
mod architecture;
mod bad_clients;
mod base_urls;
mod capture_dns;
mod clients;
mod frames;
mod gateway;
mod guide;
mod images;
mod memory;
mod pod;
mod routing;
mod scoring_pod;
mod scripted;
mod shared_answers;
mod torture;
mod trials;
mod upgrade;
mod upstream;
mod weaknesses;
