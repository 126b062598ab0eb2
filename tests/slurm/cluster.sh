#!/usr/bin/env bash
# A real SLURM cluster on this machine, for tests: two nodes of 4 CPUs and two GPUs that only SLURM believes in.
#     cluster.sh start FOLDER    as root; logs and state go to FOLDER; loopback only. One cluster a machine: exits with 3
#                                where there is another; takes away what a killed test left
#     cluster.sh stop FOLDER     ends what start began, and nothing else
#     cluster.sh node FOLDER n1  starts a node's daemon again
set -euo pipefail
base=${2:?folder of the cluster}
nodes=2
host=$(hostname -s)

make_way() {
  # A machine that was restarted during a test still has the links to that test's cluster.
  local found controller
  found=$(readlink /etc/slurm/slurm.conf || true)
  if [[ "$found" == */nepotism-slurm-*/etc/slurm.conf ]]; then
    found=${found%/etc/slurm.conf}
    controller=$(cat "$found/pid/slurmctld.pid" 2> /dev/null || echo none)
    if is_alive "$controller" && [ "$(cat "/proc/$controller/comm")" = slurmctld ]; then
      echo "a test cluster is running; wait for its test, or end it: $0 stop $found" >&2
      exit 3
    fi
    remove_links "$found"
    rm -rf "$found"
  elif [ -e /etc/slurm/slurm.conf ] || [ -L /etc/slurm/slurm.conf ]; then
    echo "/etc/slurm/slurm.conf exists: this machine belongs to a cluster already" >&2
    exit 3
  fi
}

remove_links() {
  local name
  for name in slurm gres cgroup; do
    if [ "$(readlink "/etc/slurm/$name.conf")" = "$1/etc/$name.conf" ]; then rm -f "/etc/slurm/$name.conf"; fi
  done
}

write_configuration() {
  mkdir -p "$base"/{etc,log,pid,state,spool} /etc/slurm
  cat > "$base/etc/slurm.conf" << CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$base/munge/sock,cred_expire=5
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool/%n
SlurmctldPidFile=$base/pid/slurmctld.pid
SlurmdPidFile=$base/pid/slurmd-%n.pid
SlurmctldLogFile=$base/log/slurmctld.log
SlurmdLogFile=$base/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=20
KillWait=5
MinJobAge=1200
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=200
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[26828-$((26827 + nodes))] CPUs=4 CoresPerSocket=4 RealMemory=8000 Gres=gpu:fake:2
PartitionName=main Nodes=n[1-$nodes] LLN=YES Default=YES DefaultTime=5 MaxTime=UNLIMITED PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=n[1-$nodes] DefaultTime=5 MaxTime=UNLIMITED PriorityTier=1 PreemptMode=REQUEUE
CONF
  printf 'AutoDetect=off\nNodeName=n[1-%s] Name=gpu Type=fake File=/dev/null,/dev/zero\n' "$nodes" > "$base/etc/gres.conf"
  echo "CgroupAutomount=no" > "$base/etc/cgroup.conf"
  for name in slurm gres cgroup; do
    ln -sfn "$base/etc/$name.conf" "/etc/slurm/$name.conf"
  done
}

start_munge() {
  install -d -o munge -g munge -m 0755 "$base/munge"
  (umask 077 && head -c 128 /dev/urandom > "$base/munge/key")
  chown munge:munge "$base/munge/key"
  setpriv --reuid=munge --regid=munge --init-groups munged --socket="$base/munge/sock" --key-file="$base/munge/key" \
    --pid-file="$base/munge/munged.pid" --log-file="$base/munge/munged.log" --seed-file="$base/munge/seed"
}

start_node() {
  mkdir -p "$base/spool/$1"
  slurmd -N "$1"
}

wait_for_nodes() {
  for _ in $(seq 150); do
    if [ "$(sinfo --noheader --Node --format %T --partition main 2> /dev/null | grep -cE '^(idle|mixed|allocated)$')" = "$nodes" ]; then
      return
    fi
    sleep 0.2
  done
  echo "the cluster did not come up" >&2
  tail -n 5 "$base"/log/*.log >&2
  exit 1
}

is_alive() {
  # A zombie counts as gone: in a container nobody may wait for it.
  [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2> /dev/null
}

stop() {
  local file pid
  for file in "$base"/pid/slurmctld.pid "$base"/pid/slurmd-*.pid "$base"/munge/munged.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill -TERM "$pid" 2> /dev/null || continue
    for _ in $(seq 50); do
      is_alive "$pid" || break
      sleep 0.1
    done
    if is_alive "$pid"; then kill -KILL "$pid"; fi
  done
  remove_links "$base"
}

case ${1:?start, stop or node} in
  start)
    make_way
    getent hosts "$host" > /dev/null || echo "127.0.0.1 $host" >> /etc/hosts
    write_configuration
    start_munge
    slurmctld
    for number in $(seq "$nodes"); do start_node "n$number"; done
    wait_for_nodes
    ;;
  stop) stop ;;
  node)
    start_node "${3:?name of the node}"
    wait_for_nodes
    ;;
esac
