//! Ctrl-C and SIGTERM: both mean "come to an end, cleanly".

/// Returns when somebody wants the program to end.
///
/// # Errors
/// When signals cannot be listened to.
pub async fn wanted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
