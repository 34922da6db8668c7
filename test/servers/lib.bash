# shellcheck shell=bash
# What the scripts of this folder share: errors, packages, settings, ports, processes, certificates. Source it.
#
# A server lives in a home of its own, $dir/kafka/1 or $dir/redis/single, with its configuration (conf), its process id
# (pid), its log (log; of earlier starts: log.earlier) and its data. The functions below that take a HOME work on that.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for the scripts that source this file
tmp=${TMPDIR:-/tmp} user=tester password=tester-secret patience=${SERVERS_UP_TIMEOUT:-120}
dir=$tmp/tocsin-servers-$(id -u)
cache=${SERVERS_CACHE:-${XDG_CACHE_HOME:-${HOME:-$tmp}/.cache}/tocsin-servers}

say() { echo "${0##*/}: $*" >&2; }
die() { say "$*"; exit 1; }

# --- packages ----------------------------------------------------------------------------------------------------

# need COMMAND PACKAGE...: installs the first of these Debian packages that can be had if the command is missing.
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null || apt_install "$@" || die "$command is missing and could not be installed: see above"
}

# apt_install PACKAGE...: installs the first that can be had.
apt_install() {
  local package try log=$cache/apt.log apt=(apt-get -o DPkg::Lock::Timeout=300)
  command -v apt-get >/dev/null || { say "no apt-get on this machine: install $1 by its own means"; return 1; }
  [ "$(id -u)" = 0 ] || apt=(sudo -n "${apt[@]}")
  mkdir -p "$cache"
  for try in 1 2 3; do
    for package in "$@"; do
      say "installing $package"
      "${apt[@]}" update >"$log" 2>&1 9>&- &&
        DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$package" >>"$log" 2>&1 </dev/null 9>&- && return
    done
    [ "$try" = 3 ] || sleep $((try * 3))
  done
  tail -n 15 "$log" >&2
  say "apt-get could not install $1 (its messages are above): as root, apt-get install $1"
  return 1
}

# --- one directory, one set of servers ---------------------------------------------------------------------------

# own: the directory exists and is ours. Another user's could hold links to anywhere.
own() {
  mkdir -p "$dir/$1"
  [ -O "$dir" ] || die "$dir belongs to another user: give --dir"
}

absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

# lock: one script at a time changes servers, in whatever directory, because they look for free ports. The lock goes
# when the script ends; servers don't inherit it.
lock() {
  mkdir -p "$cache"
  exec 9>>"$cache/lock"
  flock -w 600 9 || die "another script of this folder has held $cache/lock for ten minutes"
}

# fill KEY=VALUE...: copies standard input with each @KEY@ replaced.
fill() {
  local text pair
  text=$(cat)
  for pair; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
  printf '%s\n' "$text"
}

# --- ports -------------------------------------------------------------------------------------------------------

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free FIRST COUNT: nobody listens on any of these ports; prints the first that is taken if not.
free() {
  local p
  for ((p = $1; p < $1 + $2; p++)); do
    if listening "$p"; then echo "$p"; return 1; fi
  done
}

# pick_port FIRST COUNT: prints the first port of a free block: FIRST, or 100, 200, … 1900 above it.
pick_port() {
  local p
  for ((p = $1; p < $1 + 2000; p += 100)); do
    if free "$p" "$2" >/dev/null; then echo "$p"; return; fi
  done
  die "no free ports from $1 to $p: stop servers, or give --port"
}

# --- processes ---------------------------------------------------------------------------------------------------

# pid HOME: prints the server's process id; fails if it doesn't run. The command line is compared, as ids are used again.
pid() {
  local p
  p=$(cat "$1/pid" 2>/dev/null) && [ -n "$p" ] &&
    tr '\0' '\n' 2>/dev/null <"/proc/$p/cmdline" | grep -qxF "$1/conf" && echo "$p"
}

state() { # state HOME: running, stopped (SIGSTOP) or down
  local p
  if ! p=$(pid "$1"); then echo down
  elif grep -q '^State:[[:space:]]*[tT]' "/proc/$p/status"; then echo stopped
  else echo running; fi
}

# launch HOME COMMAND...: starts a server that outlives this shell and its terminal, without the lock (9).
launch() {
  local home=$1
  shift
  [ ! -f "$home/log" ] || cat "$home/log" >>"$home/log.earlier"
  setsid nohup "$@" </dev/null >"$home/log" 2>&1 9>&- &
  echo $! >"$home/pid"
  # until the new process has become the server: only then its command line names it
  until pid "$home" >/dev/null || ! kill -0 $! 2>/dev/null; do sleep 0.01; done
}

signal() { # signal NAME HOME
  local p
  p=$(pid "$2") || die "${2##*/} is not running"
  kill "-$1" "$p"
}

wait_gone() { # wait_gone HOME SECONDS
  local i
  for ((i = 0; i < $2 * 10; i++)); do
    pid "$1" >/dev/null || return 0
    sleep 0.1
  done
  return 1
}

# fault HOME kill|term|stop|cont: what may happen to a server. "start" is its script's affair.
fault() {
  case $2 in
    kill) signal KILL "$1"; wait_gone "$1" 5 || die "${1##*/} still runs 5 s after SIGKILL" ;;
    term) signal TERM "$1"; wait_gone "$1" 10 || die "${1##*/} still runs 10 s after SIGTERM" ;;
    stop) signal STOP "$1" ;;
    cont) signal CONT "$1" ;;
    *) usage >&2; exit 2 ;;
  esac
}

# stop_all HOME...: SIGTERM for all, then SIGKILL for those that don't end in time. SIGCONT wakes one that is stopped.
stop_all() {
  local home p
  for home; do
    if p=$(pid "$home"); then kill -TERM "$p" && kill -CONT "$p"; fi 2>/dev/null || true # it may end meanwhile
  done
  for home; do
    wait_gone "$home" 10 || { kill -KILL "$(pid "$home")" 2>/dev/null || true; wait_gone "$home" 5 || die "$home still runs"; }
    rm -f "$home/pid"
  done
}

log_end() { grep -vE '^[[:space:]]+at ' "$1/log" | cut -c1-400 | tail -n 15 >&2; } # without stack traces

# wait_for CONDITION HOME...: until the command succeeds; shows the logs of those servers if one ends or time runs out.
wait_for() {
  local home condition=$1 end=$((SECONDS + patience))
  shift
  until $condition >/dev/null; do # split on purpose: a command and its arguments
    for home; do
      pid "$home" >/dev/null || { log_end "$home"; die "${home##*/} ended; the end of $home/log is above"; }
    done
    if ((SECONDS >= end)); then
      for home; do
        echo "== ${home##*/}, $(state "$home"), $home/log" >&2
        log_end "$home"
      done
      die "not ready after $patience s; the ends of the logs are above; $here/down stops what runs"
    fi
    sleep 0.1
  done
}

# memory HOME: what `status` says of a running server.
memory() {
  local p
  p=$(pid "$1") && echo ", pid $p, $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$p/status") MiB"
}

# --- certificates ------------------------------------------------------------------------------------------------

# certificates valid|expired: two authorities in $dir/tls and a server's certificate from the first, for localhost and
# 127.0.0.1, if they are not there. `openssl ca`, because it alone takes dates.
certificates() {
  local tls=$dir/tls dates=(-days 3650) new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  [ ! -f "$tls/server.pem" ] || return 0
  need openssl openssl
  [ "$1" = valid ] || dates=(-startdate "$(date -u -d '10 days ago' +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d '1 day ago' +%Y%m%d%H%M%SZ)")
  mkdir -p "$tls"
  (
    cd "$tls"
    : >index.txt
    cp "$here/ca.cnf" .
    openssl req -x509 "${new[@]}" -keyout ca.key -out ca.pem -days 3650 -subj "/CN=Test CA"
    openssl req -x509 "${new[@]}" -keyout other-ca.key -out other-ca.pem -days 3650 -subj "/CN=Other test CA"
    openssl req "${new[@]}" -keyout server.key -out server.csr -subj "/CN=localhost"
    openssl ca -batch -notext -config ca.cnf "${dates[@]}" -in server.csr -out server.crt
    cat server.key server.crt >server.pem
  ) >"$tls/openssl.log" 2>&1 || { cat "$tls/openssl.log" >&2; rm -f "$tls/server.pem"; die "openssl failed; its messages are above"; }
}
