//! The commands of `samples/*/README.md`, and what each of them says.

use crate::harness::{Cluster, IMPATIENT, Need, story};
use crate::typing::{commands, goes_on, read, succeeds};

/// Commands by their beginning, and words that each says; one that says nothing has none. The first that fits counts.
const SAYS: &[(&str, &str)] = &[
    ("kubectl apply -f ", "created|configured|unchanged"),
    ("kubectl delete -f ", "deleted"),
    ("coracle up ", "coracle up"),
    // 1
    ("kubectl get pod first-pod -o wide", "10.244."),
    ("kubectl port-forward pod/first-pod 8080", "Forwarding from 127.0.0.1:8080"),
    ("curl 127.0.0.1:8080", "this is "),
    ("kubectl logs first-pod", "Listening on port 8080"),
    ("kubectl exec -it first-pod -- sh", "first-pod"),
    // 2
    ("kubectl rollout status deployment/kubia", "successfully rolled out"),
    ("kubectl get service kubia", "LoadBalancer"),
    ("kubectl delete pod -l app=kubia --wait=false", "deleted"),
    ("kubectl get pods -l app=kettle --watch", "kettle-"),
    ("kubectl get pods -l app=watchman -o wide", "watchman-"),
    ("kubectl get pods -l app=ferry -o wide", "ferry-"),
    ("kubectl get pods -l app=raft -o wide", "raft-"),
    ("kubectl get pods -l app=memo --watch", "memo-0"),
    ("kubectl get pods -l job-name=stubborn", "stubborn-"),
    ("kubectl get pods --show-labels", "color=blue,kind=boat"),
    ("kubectl get pods -L kind,color", "KIND"),
    ("kubectl get pods -l color=red", "red-buoy"),
    ("kubectl get pods -l 'kind in (boat,raft),color!=red'", "blue-boat"),
    ("kubectl get pods", "Running"),
    ("kubectl set image deployment/kubia", "deployment.apps/kubia image updated"),
    ("kubectl rollout undo deployment/kubia", "deployment.apps/kubia rolled back"),
    ("kubectl scale deployment/kubia --replicas=5", "deployment.apps/kubia scaled"),
    // 3
    ("kubectl logs two-containers -c reader -f", "written at "),
    ("kubectl exec two-containers -c reader -- ls -l /in", "lines"),
    // 4
    ("kubectl get pod prepared --watch", "Running"),
    ("kubectl logs prepared -c prepare", "prepared"),
    ("kubectl exec prepared -- cat /prepared/greeting", "Good morning"),
    // 5
    ("kubectl exec configured -- env", "GREETING=Good evening"),
    ("kubectl exec configured -- cat", "open-sesame"),
    // 6
    ("kubectl get pvc", "Bound"),
    ("kubectl exec memo-0 -- cat /data/notes", "started"),
    ("kubectl delete pod memo-0", "deleted"),
    ("kubectl scale statefulset memo --replicas=3", "statefulset.apps/memo scaled"),
    ("kubectl set env statefulset/memo COLOR=blue", "statefulset.apps/memo env updated"),
    ("kubectl rollout undo statefulset/memo", "statefulset.apps/memo rolled back"),
    // 7
    ("kubectl rollout status daemonset/watchman", "successfully rolled out"),
    ("kubectl set env daemonset/watchman COLOR=blue", "daemonset.apps/watchman env updated"),
    ("kubectl rollout history daemonset/watchman", "REVISION"),
    // 8
    ("kubectl get jobs --watch", "Complete"),
    ("kubectl logs -l job-name=pieces --prefix", "is done"),
    ("kubectl get job pieces -o jsonpath='{.status.completedIndexes}'", "0-3"),
    // 9
    ("kubectl create job --from=cronjob/tick now", "job.batch/now created"),
    ("kubectl patch cronjob tick", "cronjob.batch/tick patched"),
    ("kubectl delete job now", "deleted"),
    // 10 and 12
    ("kubectl get pdb ferry", "ferry"),
    ("kubectl cordon node-2", "node/node-2 cordoned"),
    ("kubectl drain node-2 --ignore-daemonsets", "node/node-2 drained"),
    ("kubectl uncordon node-2", "node/node-2 uncordoned"),
    ("coracle node stop node-3", "stopped"),
    ("kubectl get nodes --watch", "NotReady"),
    ("coracle node start node-3", "started"),
    // 11
    ("kubectl get hpa kettle --watch", "kettle"),
    ("kubectl top pods -l app=kettle", "CPU(cores)"),
    ("kubectl exec deploy/kettle -- touch /tmp/fire", ""),
    ("kubectl exec deploy/kettle -- rm -f /tmp/fire", ""),
    ("kubectl describe hpa kettle", "SuccessfulRescale"),
    // 13
    ("kubectl get ingress harbour", "harbour.example.com"),
    ("curl -H 'Host: harbour.example.com'", "this is harbour-"),
    ("kubectl run stranger ", "pod/stranger created"),
    ("kubectl exec stranger -- curl -sm 2 harbour", "this is harbour-"),
    ("kubectl run sailor ", "pod/sailor created"),
    ("kubectl exec sailor -- curl -sm 2 harbour", "this is harbour-"),
    ("coracle service harbour", "harbour"),
    ("kubectl delete pod stranger sailor", "pod \"sailor\" deleted"),
    // 14
    ("kubectl wait ", "condition met"),
    ("kubectl exec probed -- curl -s 127.0.0.1:8080/healthz/fail", "answers 500"),
    ("kubectl get pod probed", " 1 ("),
    ("kubectl describe pod probed", "Liveness probe failed: HTTP probe failed with statuscode: 500"),
    ("kubectl logs probed --previous", "Received SIGTERM, exiting"),
    // 15
    ("kubectl exec polite -- cat /pages/greeting", "Welcome"),
    ("kubectl logs polite -f", "Kubia server starting"),
    ("kubectl delete pod polite", "pod \"polite\" deleted"),
    ("kubectl delete pod deaf", "pod \"deaf\" deleted"),
    // 16
    ("kubectl get pod with-sidecars", "3/3"),
    ("kubectl logs with-sidecars -c check", "seen at "),
    ("kubectl logs with-sidecars -c visitor", "this is with-sidecars."),
    ("kubectl logs with-sidecars --all-containers --prefix", "[pod/with-sidecars/web] "),
    ("kubectl exec with-sidecars -c scribe -- tail -n 1 /notes/times", "seen at "),
    // 17
    ("kubectl exec with-volumes -c reader -- cat /in/kept", "kept"),
    ("kubectl exec with-volumes -c web -- touch /own/mine", ""),
    ("kubectl exec with-volumes -c reader -- ls /in/with-volumes", "mine"),
    ("kubectl exec with-volumes -c reader -- ls /in", "kept"),
    ("kubectl exec with-volumes -c web -- grep /quick /proc/mounts", "tmpfs"),
    ("kubectl exec with-volumes -c web -- head -n 1 /node/passwd", "root:"),
    ("kubectl exec with-volumes -c web -- sh -c 'kill 1'", ""),
    ("kubectl get pod with-volumes", " 1 ("),
    // 18
    ("kubectl get endpointslices -l kubernetes.io/service-name=boats", "10.244."),
    ("kubectl label pod red-buoy kind=boat --overwrite", "pod/red-buoy labeled"),
    ("kubectl label pod red-buoy color-", "pod/red-buoy unlabeled"),
    ("kubectl annotate pod red-buoy ", "pod/red-buoy annotated"),
    ("kubectl delete pods -l color=red", "pod \"red-boat\" deleted"),
    // 19
    ("kubectl logs open-house --timestamps --tail=1", "Z "),
    ("kubectl logs open-house -f", "Listening on port 8080"),
    ("kubectl exec open-house -- ps ax", "__kubia"),
    ("kubectl exec -it open-house -- sh", "open-house"),
    ("echo Howdy | kubectl attach -i open-house", "Greeting set to: Howdy"),
    ("kubectl port-forward pod/open-house 8888:8080", "Forwarding from 127.0.0.1:8888"),
    ("curl 127.0.0.1:8888", "Howdy, this is open-house."),
    // what the pod's tar remarks is shown if it comes before the archive's end
    ("kubectl cp open-house:/etc/hostname ", "tar: Removing leading `/' from member names|"),
    ("kubectl cp hostname-of-the-pod ", ""),
    ("kubectl exec open-house -- cat /tmp/there-and-back", "open-house"),
    ("rm hostname-of-the-pod", ""),
    ("kubectl run guest ", "Howdy, this is open-house."),
];

fn promise(line: &str) -> Option<usize> {
    SAYS.iter().position(|(start, _)| line.starts_with(start))
}

/// The lessons' folders and their commands, in order.
fn lessons() -> Vec<(String, Vec<String>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // what stands for the address that a service or an ingress has outside
    let here = |line: String| ["EXTERNAL-IP", "ADDRESS"].iter().fold(line, |line, word| line.replace(word, "127.0.0.1"));
    let lines = |name: &str| commands(&read(&format!("samples/{name}/README.md"))).into_iter().map(here).collect();
    let mut lessons: Vec<_> = names.map(|name| (name.clone(), lines(&name))).collect();
    lessons.sort();
    lessons
}

#[test]
fn every_command_of_the_lessons_has_its_words() {
    let lines: Vec<String> = lessons().into_iter().flat_map(|(_, lines)| lines).collect();
    let without: Vec<&String> = lines.iter().filter(|line| promise(line).is_none()).collect();
    assert!(without.is_empty(), "what do these say? {without:#?}");
    let used: Vec<usize> = lines.iter().filter_map(|line| promise(line)).collect();
    let unused: Vec<&str> = SAYS.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, (start, _))| *start).collect();
    assert!(unused.is_empty(), "no lesson has these any more: {unused:#?}");
}

/// Every command of every lesson, typed in its order. Those that go on are left running until the lesson is over.
#[test]
fn every_command_of_the_lessons_works() {
    story("commands of the samples", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[&["--nodes=3"], &IMPATIENT[..]].concat());
        for (lesson, lines) in lessons() {
            let mut going_on = Vec::new();
            for line in lines {
                let says = SAYS[promise(&line).unwrap()].1;
                if line.starts_with("coracle up") {
                    // the cluster runs already, with as many nodes as the lesson that wants most
                    succeeds(&cluster.place, &lesson, &format!("{line} --help"), says, false);
                } else if line.ends_with('&') || line.contains("--watch") || line.ends_with(" -f") {
                    going_on.push(goes_on(&cluster.place, &lesson, line.trim_end_matches(['&', ' ']), says));
                } else {
                    // a policy that holds lets nobody through: curl's own exit code
                    succeeds(&cluster.place, &lesson, &line, says, line.starts_with("kubectl exec stranger"));
                }
            }
        }
        cluster.down();
    });
}
