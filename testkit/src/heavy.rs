//! Tests that run one at a time, beside others.

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other heavy test of this process runs. Heavy tests need both cores for thousands of clients,
/// or gigabytes of memory. In `.config/nextest.toml` they are the group `heavy`.
pub async fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::const_new(());
    HEAVY.lock().await
}
