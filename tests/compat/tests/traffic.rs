use std::{collections::BTreeMap, time::Duration};
use anyhow::Result;
use reflow_tracing_tests::{Proxy, proxy::Observation, process::{Process, Spec}, service::executable};

#[tokio::test]
async fn explore() -> Result<()> {
    for n in ["1000", "1000", "10"] {
    let server = Proxy::alone().await?;
    let folder = tempfile::tempdir()?;
    let mut p = Process::spawn(&Spec::new(executable("compat-program")?, folder.path()).arg(server.url()).arg(n))?;
    let st = p.exit(Duration::from_secs(60)).await?;
    println!("{st} {}", p.tail());
    reflow_tracing_tests::eventually(Duration::from_secs(5), || async { anyhow::ensure!(server.record().iter().any(|e| matches!(e.what, Observation::HungUp(_)|Observation::SaidGoodbye))); Ok(()) }).await?;
    let record = server.record();
    let t0 = record[0].at;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut traces = std::collections::HashSet::new();
    let mut events = std::collections::HashSet::new();
    let mut total=0; let mut bytes=0; let mut maxbytes=0;
    for (i, e) in record.iter().enumerate() {
        match &e.what {
            Observation::Sent(t) => {
                let v: serde_json::Value = serde_json::from_str(t)?;
                let k = v.as_object().unwrap().keys().next().unwrap().clone();
                if k == "RecordEvent" {
                    total+=1;
                    let b = v["RecordEvent"]["event"].to_string().len(); bytes += b; maxbytes = maxbytes.max(b);
                    let ev=&v["RecordEvent"]["event"];
                    let kind = match &ev["event_type"] { serde_json::Value::String(s)=>s.clone(), o => o.to_string() };
                    *counts.entry(format!("{kind} by {} port {}", ev["actor_id"], ev["data"]["port"])).or_default()+=1;
                    traces.insert(v["RecordEvent"]["trace_id"].to_string());
                    events.insert(ev["event_id"].to_string());
                    if i < 8 || (i > 3000 && i < 3004) { println!("{i} {:?} {t}", e.at-t0); }
                } else { println!("{i} {:?} {t}", e.at-t0); *counts.entry(k).or_default()+=1; }
            }
            o => println!("{i} {:?} conn {} {o:?}", e.at-t0, e.connection),
        }
    }
    println!("{counts:#?} total events {total} distinct traces {} events {} mean bytes {} max {}", traces.len(), events.len(), bytes/total.max(1), maxbytes);
    }
    Ok(())
}
