//! Stamps the reading half onto a type that has a [`crate::sql::statement::Reading`] backend.

/// `reading_half!(Type, |it| &it.reader)`: everything but `stats` is the shared code.
macro_rules! reading_half {
    ($store:ty, |$it:ident| $reader:expr) => {
        #[async_trait::async_trait]
        impl $crate::StoreReader for $store {
            async fn find_trace(
                &self,
                tenant: &str,
                id: uuid::Uuid,
                now_us: i64,
            ) -> Result<Option<$crate::TraceSummary>, $crate::StoreError> {
                let $it = self;
                $crate::sql::read::find_trace($reader, tenant, id, now_us).await
            }

            async fn trace_chunks(
                &self,
                tenant: &str,
                trace_id: uuid::Uuid,
                after: Option<$crate::ChunkCursor>,
                max_bytes: usize,
            ) -> Result<$crate::ChunkPage, $crate::StoreError> {
                let $it = self;
                $crate::sql::read::trace_chunks($reader, tenant, trace_id, after, max_bytes).await
            }

            async fn query(
                &self,
                filter: &$crate::TraceFilter,
                page: &$crate::Page,
                now_us: i64,
            ) -> Result<$crate::QueryPage, $crate::StoreError> {
                let $it = self;
                $crate::sql::read::query($reader, filter, page, now_us).await
            }

            async fn flow_versions(
                &self,
                tenant: &str,
                flow: &str,
            ) -> Result<Vec<$crate::FlowVersionRow>, $crate::StoreError> {
                let $it = self;
                $crate::sql::read::flow_versions($reader, tenant, flow).await
            }

            async fn heads(
                &self,
                tenant: &str,
                ids: &[uuid::Uuid],
                now_us: i64,
            ) -> Result<Vec<$crate::TraceHead>, $crate::StoreError> {
                let $it = self;
                $crate::sql::read::heads($reader, tenant, ids, now_us).await
            }

            async fn trace_actors(
                &self,
                tenant: &str,
                trace_id: uuid::Uuid,
            ) -> Result<Vec<$crate::ActorRow>, $crate::StoreError> {
                let $it = self;
                $crate::sql::read::trace_actors($reader, tenant, trace_id).await
            }

            async fn rollups(&self, query: &$crate::RollupQuery) -> Result<Vec<$crate::RollupRow>, $crate::StoreError> {
                let $it = self;
                $crate::sql::rollups::rollups($reader, query).await
            }

            async fn stats(&self) -> Result<$crate::StoreStats, $crate::StoreError> {
                let $it = self;
                ($reader).stats().await
            }
        }
    };
}
pub(crate) use reading_half;
