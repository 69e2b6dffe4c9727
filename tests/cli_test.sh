#!/usr/bin/env bash
# cli_test.sh CAIRN: what the commands say and how they end: usage errors end with 2, failures with 1, each with one line on
# stderr that names the thing. Every node it starts listens on loopback and is ended again.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
cairn=$(realpath "$1")
work=$(mktemp -d)
cd "$work" || exit 1
port=$((20000 + RANDOM % 20000))
passed=0 failed=0 node=

finish() {
    [[ -n $node ]] && kill -KILL "$node" 2>/dev/null
    chmod -R u+w "$work" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT

good() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    printf 'not ok: %s\n' "$1"
    shift
    printf '    %s\n' "$@"
}

# expect CODE PATTERN ARGUMENT … : exit code, and a single line on stderr that matches the pattern.
expect() {
    local code=$1 pattern=$2 got=0 err
    shift 2
    timeout 20 "$cairn" "$@" >out 2>err </dev/null || got=$?
    err=$(cat err)
    if ((got != code)); then bad "cairn $*" "exit code $got instead of $code" "$err"
    elif [[ $(wc -l <err) != 1 ]]; then bad "cairn $*" "not one line on stderr:" "$err"
    elif [[ ! $err =~ $pattern ]]; then bad "cairn $*" "no match of '$pattern' in:" "$err"
    else good
    fi
}
# says PATTERN ARGUMENT … : ends with 0 and prints something that matches.
says() {
    local pattern=$1 got=0
    shift
    timeout 20 "$cairn" "$@" >out 2>err </dev/null || got=$?
    if ((got != 0)); then bad "cairn $*" "exit code $got" "$(cat err)"
    elif [[ ! $(cat out) =~ $pattern ]]; then bad "cairn $*" "no match of '$pattern' in:" "$(head -20 out)"
    else good
    fi
}

# http METHOD PATH [HEADER …]: status line and body from $port, without headers
http() {
    local line="$1 $2" host='Host: x'
    shift 2
    [[ "$*" == *Host:* ]] && host=''
    exec 9<>"/dev/tcp/127.0.0.1/$port" || return
    printf '%s HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n' "$line" >&9
    printf '%s\r\n' ${host:+"$host"} "$@" '' >&9
    tr -d '\r' <&9 | awk 'NR == 1 { print } body { print } $0 == "" { body = 1 }'
    exec 9>&-
}
# answers PATTERN METHOD PATH [HEADER …]: status line and body match
answers() {
    local got pattern=$1
    shift
    got=$(http "$@")
    if [[ $got =~ $pattern ]]; then good; else bad "$*" "no match of '$pattern' in:" "$got"; fi
}

start() { # ARGUMENT … : a node on $port; waits until it is ready
    "$cairn" serve --listen "127.0.0.1:$port" --log-level warn --shards 2 "$@" >node.out 2>node.err &
    node=$!
    for _ in $(seq 300); do
        grep -q 'is ready' node.out && return
        kill -0 $node 2>/dev/null || break
        sleep 0.05
    done
    bad "serve $*" "it did not become ready" "$(cat node.out node.err)"
    return 1
}
stop() { # expects an orderly end
    local code=0
    kill -TERM "$node"
    wait "$node" || code=$?
    node=
    if ((code == 0)); then good; else bad "stopping the node" "exit code $code" "$(cat node.err)"; fi
}

# ---- usage ----
says 'cairn serve.*cairn local.*cairn status' help
says 'cairn [0-9]+\.[0-9]+\.[0-9]+' version
says 'cairn [0-9]' --version
says '--value-max SIZE.*16MiB' help serve
says '--pipeline' bench --help
expect 2 "no command 'sevre'.*Did you mean 'cairn serve'" sevre
expect 2 "no command 'xyzzy'.*cairn help" xyzzy
expect 2 "no command 'xyzzy'" help xyzzy
expect 2 '--liste.*Did you mean listen' serve --liste 127.0.0.1:1
expect 2 '--frobnicate.*cairn help serve' serve --frobnicate yes
expect 2 "'extra' is not expected" serve extra
expect 2 '--listen needs a value' serve --listen
expect 2 "--listen: 'localhost' is not an address" serve --listen localhost
expect 2 '--listen: .* stands in brackets' serve --listen ::1:7000
expect 2 "--value-max: 1TiB is too large.*1KiB to 512MiB" serve --value-max 1TiB
expect 2 "--value-max: '12 bananas' is not a value.*such as 64MiB" serve --value-max '12 bananas'
expect 2 '--request-timeout: .*such as 500ms' serve --request-timeout 5
expect 2 '--shards: 0 is too small.*1 to 256' serve --shards 0
expect 2 '--log-level: .*debug, info, warn or error' serve --log-level loud
expect 2 "--listen: '127.0.0.1:99999' is not an address: its port is a number up to 65535" serve --listen 127.0.0.1:99999
expect 2 '--port: there is no such setting. Did you mean listen HOST:PORT' serve --port 7000
expect 2 "a command comes before '--listen'.*cairn serve --listen" --listen 127.0.0.1:7000
expect 2 "--address: 'foo' is not an address: give HOST:PORT" status --address foo
expect 2 "--address: 'b' is not an address: give HOST:PORT" bench --address 127.0.0.1:1,b
expect 2 '--value-size: 1GiB is out of range: give 0.* to 512MiB' bench --value-size 1GiB
expect 2 "--seed takes a number from 0 to .*, not 'x'" sim --seed x
expect 2 '--profile needs a value.*cairn help sim' sim --profile
expect 2 '--history needs a value' sim --history
expect 2 "--profile: there is no 'x'; there are: none .*" sim --profile x
expect 2 "--faults: there is no kind 'x'; the kinds are: kill .*" sim --faults kill,x
expect 2 "there is no option '--nods'.*cairn help sim" sim --nods 3
expect 2 '--beyond-budget goes with no --profile' sim --beyond-budget --profile none
expect 2 "--config: '.' is not a file" serve --config .
expect 2 "--config: '/dev/stdin' is not a file" serve --config /dev/stdin
expect 1 '--join names this node itself' serve --listen "127.0.0.1:$port" --join "127.0.0.1:$port" --data self --log-level error
for command in serve local status node table checkpoint restore query load bench sim version help; do
    says "cairn $command" help $command
    [[ $(cat out) == *Options:* || $(cat out) == *Settings* || $command == version || $command == help ]] && good || bad "help $command has no options"
done
expect 2 'no passwords.*--insecure' serve --listen "0.0.0.0:$port"
expect 2 'no passwords.*--insecure' serve --listen "127.0.0.1.example.org:$port"
expect 2 '--advertise' serve --listen "0.0.0.0:$port" --insecure
expect 2 '--nodes: 0 is out of range.*1 to 64' local --nodes 0
expect 2 'beyond 65535' local --nodes 3 --port 65534
expect 2 'cairn node list.*cairn node remove' node
expect 2 "'x' is not the id of a node" node remove x
expect 2 'it is any, map or leader' bench --route nearest
expect 2 'needs a connection' bench --clients 1 --threads 2
expect 2 'cairn load --deb822' load
expect 2 'what to send' query

# ---- settings from file and environment ----
printf 'value-max = 1MiB # small\n\nclients-max=7\n' >good.conf
printf 'value-max = 1MiB\nshard = 1\n' >unknown.conf
printf 'value-max = 1MiB\nvalue-max = 2MiB\n' >twice.conf
printf 'value-max\n' >noequals.conf
expect 2 "'unknown.conf', line 2: shard.*Did you mean shards" serve --config unknown.conf
expect 2 "'twice.conf', line 2: value-max is set twice" serve --config twice.conf
expect 2 "'noequals.conf', line 1: there is no '='" serve --config noequals.conf
printf '\xef\xbb\xbfshards = 0\n' >bom.conf
expect 2 "'bom.conf', line 1: shards: 0 is too small" serve --config bom.conf
expect 2 "'missing.conf': No such file" serve --config missing.conf
CAIRN_VALUE_MAX=huge expect 2 "CAIRN_VALUE_MAX: 'huge' is not a value" serve

# ---- nobody there ----
expect 1 "no node answers at 127.0.0.1:$port" status --address "127.0.0.1:$port"
expect 1 "no node answers at 127.0.0.1:$port" node list --address "127.0.0.1:$port"
expect 1 "no reply from 127.0.0.1:$port.*nothing listens" query --address "127.0.0.1:$port" PING
expect 1 "127.0.0.1:$port: nothing listens" bench --route map --address "127.0.0.1:$port" --duration 1s --quiet
expect 1 "127.0.0.1:$port: nothing listens" bench --address "127.0.0.1:$port" --duration 1s --quiet
expect 1 "can't open 'missing'" load --deb822 missing

# ---- a node ----
CAIRN_CLIENTS_MAX=9 start --data data --config good.conf --value-max 2MiB && {
    address=127.0.0.1:$port
    says 'PONG' query --address "$address" PING
    says '"9"' query --address "$address" CONFIG GET maxclients           # the environment wins over the file
    says '"2097152"' query --address "$address" CONFIG GET proto-max-bulk-len # the flag wins over both
    says 'OK' query --address "$address" CONFIG SET maxclients 100
    says 'maxclients:100' query --address "$address" --raw INFO clients
    "$cairn" query --address "$address" NOSUCH >out 2>err
    if [[ $? == 1 && $(cat out) == '(error) ERR unknown command'* ]]; then good; else bad "query NOSUCH" "$(cat out err)"; fi
    says 'Cluster .*default.*Healthy' status --address "$address"
    says '"ready":true' status --json --address "$address"
    says "127.0.0.1:$port" node list --address "$address"
    expect 1 'there is no node 99' node remove 99 --address "$address"
    expect 1 "node 1 can't be removed" node remove 1 --address "$address"
    printf 'Package: a\nX: 1\n\nPackage: b\nX: two\n words\n' >list
    says '2 records' load --deb822 list --address "$address"
    says 'two.n words' query --address "$address" HGET package:b X
    printf 'Package: a\nbroken line\n\n' >list
    expect 1 "'list'.*line 2 has no field name" load --deb822 list --address "$address"
    says '"all":..count":100,' bench --address "$address" --requests 100 --clients 2 --json --quiet
    says 'filled 50 keys.*reads' bench --address "$address" --requests 100 --keys 50 --fill --clients 2 --quiet
    says '"route":"map".*"errors":0' bench --address "$address" --requests 100 --clients 2 --pipeline 4 --route map --json --quiet
    says '"writes":..count":0,.*"errors":0' bench --address "$address" --requests 10 --clients 2 --read-percent 100 --wait 1 --json --quiet
    says '"rate":500' bench --address "$address" --rate 500 --duration 300ms --clients 4 --json --quiet

    # HTTP
    answers ' 200 .*"status":"ok"' GET /health
    answers ' 200 .*"leaderless":0,"under_replicated":0' GET /status.json
    answers ' 404 .*"error":"there is no such name' GET /nothing
    answers ' 405 .*"error":"this name takes POST' GET '/api/nodes/remove?id=1'
    answers ' 400 .*say which node' POST /api/nodes/remove
    answers ' 404 .*there is no node 99' POST '/api/nodes/remove?id=99'
    answers " 409 .*node 1 can't be removed" POST '/api/nodes/remove?id=1'
    answers ' 200 .*"value-max":"2MiB"' GET /api/settings
    answers ' 200 .*"request-timeout":"3s"' POST '/api/settings?name=request-timeout&value=3s'
    answers ' 400 .*1KiB to 512MiB' POST '/api/settings?name=value-max&value=1TiB'
    answers " 400 .*can't be changed while the node runs" POST '/api/settings?name=data&value=x'
    answers ' 404 .*there is no setting' POST '/api/settings?name=nothing&value=x'
    # What a browser may be made to send by a page of another site
    answers ' 403 .*web page of another site .Origin: http://evil.example' POST '/api/settings?name=value-max&value=1MiB' \
        "Host: 127.0.0.1:$port" 'Origin: http://evil.example'
    answers ' 403 .*no name that this cluster knows' POST '/api/settings?name=value-max&value=1MiB' \
        "Host: evil.example:$port" "Origin: http://evil.example:$port"
    answers ' 415 .*application/json' POST '/api/nodes/remove?id=1' 'Content-Type: application/x-www-form-urlencoded'
    answers ' 403 .*Sec-Fetch-Site: cross-site' POST '/api/nodes/remove?id=1' "Host: 127.0.0.1:$port" 'Sec-Fetch-Site: cross-site'
    answers ' 200 .*"value-max":"2MiB"' POST '/api/settings?name=request-timeout&value=3s' "Host: 127.0.0.1:$port" \
        "Origin: http://127.0.0.1:$port" 'Content-Type: application/json'
    # CLIENT LIST and KILL see the connections of both shards, whichever serves the caller
    for i in 0 1 2 3 4 5 6 7 8 9; do
        eval "exec {held$i}<>/dev/tcp/127.0.0.1/$port"
        fd=held$i
        printf 'CLIENT SETNAME held%s\r\n' "$i" >&"${!fd}"
        read -r _ <&"${!fd}"
    done
    for _ in 1 2 3 4; do
        n=$("$cairn" query --address "$address" --raw CLIENT LIST | grep -c ' name=held[0-9] ')
        if [[ $n == 10 ]]; then good; else bad "CLIENT LIST" "$n of 10 connections"; fi
    done
    says 10 query --address "$address" CLIENT KILL TYPE normal
    says 'integer. 0' query --address "$address" CLIENT KILL ADDR 127.0.0.1:1
    n=0
    for i in 0 1 2 3 4 5 6 7 8 9; do
        fd=held$i
        read -r -t 5 _ <&"${!fd}" || n=$((n + 1))
        eval "exec {held$i}>&-"
    done
    if [[ $n == 10 ]]; then good; else bad "CLIENT KILL" "$n of 10 connections ended"; fi

    # The text format of Prometheus: each sample belongs to the TYPE before it, and stands there once.
    http GET /metrics >metrics
    if awk 'NR == 1 { next } /^# HELP / { next } /^# TYPE / { if ($3 in type) bad = 1; type[$3] = $4; now = $3; next }
            { name = $1; sub(/\{.*/, "", name); if (name != now || $1 in seen || $2 !~ /^[0-9.]+$/ || NF != 2) { print; bad = 1 }
              seen[$1] = 1; n++ } END { exit bad || n < 100 }' metrics; then good; else bad metrics "$(head -50 metrics)"; fi

    # two nodes, one thing
    expect 1 "listen on '$address'.*another process listens there" serve --listen "$address" --data data2
    expect 1 "directory 'data' is in use by process $node" serve --listen 127.0.0.1:0 --data data
    stop
}
expect 1 "no node answers" status --address "127.0.0.1:$port"

# ---- its directory ----
start --data data && { # the data is there again
    says '"two.n words"' query --address "127.0.0.1:$port" HGET package:b X
    says '"1"' query --address "127.0.0.1:$port" HGET package:a X
    stop
}
printf 'garbage' >data3; expect 1 "'data3'" serve --listen 127.0.0.1:0 --data data3
mkdir -p data4; printf 'this is no identity' >data4/identity
expect 1 "'data4/identity' is not a Cairn identity file" serve --listen 127.0.0.1:0 --data data4
cp -r data data5; printf '\x63' | dd of=data5/identity bs=1 seek=4 conv=notrunc status=none
expect 1 "'data5/identity' has format 99.*use the newer cairn" serve --listen 127.0.0.1:0 --data data5
cp -r data data8; printf '\x63' | dd of=data8/catalog bs=1 seek=4 conv=notrunc status=none
expect 1 "'data8/catalog' has format 99.*use the newer cairn" serve --listen 127.0.0.1:0 --data data8 --log-level error
cp -r data data6; was=$(od -An -tu1 -j20 -N1 data6/identity) # a random byte: it may be any
printf "\\x$(printf %02x $((was ^ 255)))" | dd of=data6/identity bs=1 seek=20 conv=notrunc status=none
expect 1 "'data6/identity' is damaged" serve --listen 127.0.0.1:0 --data data6
rm -rf data7; cp -r data data7; rm -rf data7/store-0; "$cairn" serve --listen 127.0.0.1:0 --data other --log-level warn >o.out 2>&1 &
other=$!
for _ in $(seq 200); do grep -q 'is ready' o.out && break; sleep 0.05; done
kill -TERM $other; wait $other
cp -r other/store-0 data7/store-0 # a store of another node
expect 1 "data7/store-0" serve --listen 127.0.0.1:0 --data data7
if ((EUID != 0)); then
    mkdir locked; chmod 500 locked
    expect 1 "'locked/data': Permission denied" serve --listen 127.0.0.1:0 --data locked/data
fi
expect 1 "/proc/nothing" serve --listen 127.0.0.1:0 --data /proc/nothing/here

# ---- history ----
expect 2 'say what to do' table
expect 2 "'soon' is not a time" table retention soon
expect 1 'no node answers' table retention 1h --address 127.0.0.1:1
# until PATTERN: what /status.json says of the replicas matches, within 15 s
until_status() {
    local got
    for _ in $(seq 150); do
        got=$(http GET /status.json)
        [[ $got =~ $1 ]] && good && return
        sleep 0.1
    done
    bad "status shows $1" "$got"
}
if start --data history --stores 1 --partitions 1 --retention 1500ms; then
    says 'OK' query --address "127.0.0.1:$port" SET kept one
    says 'OK' query --address "127.0.0.1:$port" SET kept two
    until_status '"retention_ms":1500,"watermark_ms":[1-9]'
    answers '400.*at most 9600h' POST '/api/tables/retention?value=1000000h'
    says 'keeps what is superseded for 2h' table retention 2h --address "127.0.0.1:$port"
    until_status '"retention_ms":7200000,"watermark_ms":[1-9]'
    stop
    if start --data history --retention 1s; then # counts only when a cluster is founded
        until_status '"retention_ms":7200000,"watermark_ms":[1-9]'
        says 'two' query --address "127.0.0.1:$port" GET kept
        answers '"retention_ms":0' POST '/api/tables/retention?value=0s'
        until_status '"retention_ms":0,"watermark_ms":[1-9]'
        stop
    fi
fi

# ---- checkpoints ----
expect 2 'say what to restore' restore
expect 1 'no checkpoint' restore --from history --data nowhere
expect 1 'no node answers' checkpoint --address 127.0.0.1:1
if start --data first --stores 2 --partitions 5; then
    address=127.0.0.1:$port
    "$cairn" bench --address "$address" --fill --keys 2000 --requests 1 --clients 2 --quiet >/dev/null
    awk 'BEGIN { for (i = 0; i < 300; i++) printf "Package: p%d\nX: %d\nY: y\n\n", i, i }' >list
    says '300 records' load --deb822 list --address "$address"
    says 'OK' query --address "$address" SET before yes
    says 'first/checkpoints/[0-9]+' checkpoint --address "$address"
    checkpoint=$(cat out)
    says 'OK' query --address "$address" SET after yes
    says "${checkpoint##*/}" checkpoint list --address "$address"
    says 'restored 2,301 keys in 6 partitions' restore --from "$checkpoint" --data second
    expect 1 'not empty' restore --from "$checkpoint" --data second
    # a damaged file is found: the checksums of all blocks are read
    cp -r "$checkpoint" damaged
    sst=$(ls damaged/engine-0/*.sst | head -1)
    printf 'XXXXXXXX' | dd of="$sst" bs=1 seek=40 conv=notrunc 2>/dev/null
    expect 1 'not restored' restore --from damaged --data third
    cp -r "$checkpoint" later; printf '\x63' | dd of=later/CHECKPOINT bs=1 seek=4 conv=notrunc status=none
    expect 1 "'later/CHECKPOINT' has format 99.*use the newer cairn" restore --from later --data third
    [[ ! -e third/identity ]] && good || bad "a failed restore leaves no node"
    old_cluster=$(http GET /status.json | grep -o '"cluster":"[0-9a-f]*"')
    stop
    if start --data second --partitions 9; then # what the catalog says counts
        says '"yes"' query --address "$address" GET before
        says 'nil' query --address "$address" GET after
        says '2301' query --address "$address" DBSIZE
        says '"299"' query --address "$address" HGET package:p299 X
        says 'OK' query --address "$address" SET after too
        [[ $(http GET /status.json | grep -o '"cluster":"[0-9a-f]*"') != "$old_cluster" ]] && good || bad "a restored cluster is a new one"
        answers '"leaderless":0' GET /status.json
        stop
        start --data second && says '"too"' query --address "$address" GET after && stop
    fi
fi

# ---- an op whose rows do not fit into memory together ----
if start --data small --stores 1 --partitions 1 --rows-memory 4MiB --engine-cache 1MiB --engine-write-buffer 1MiB; then
    exec 9<>"/dev/tcp/127.0.0.1/$port"
    awk 'BEGIN { v = sprintf("%5000s", ""); gsub(/ /, "x", v)
                 for (i = 0; i < 3000; i++) { f = "f" i; printf "*4\r\n$4\r\nHSET\r\n$3\r\nbig\r\n$%d\r\n%s\r\n$5000\r\n%s\r\n", length(f), f, v } }' >&9 &
    head -n 3000 <&9 >/dev/null
    exec 9>&-
    says '1' query --address "127.0.0.1:$port" COPY big '{big}2'
    says '3000' query --address "127.0.0.1:$port" HLEN '{big}2'
    stop
fi

# ---- cairn local ----
"$cairn" local --nodes 2 --port $((port + 10)) --dir local -- --partitions 4 >local.out 2>&1 &
node=$!
for _ in $(seq 600); do
    grep -q 'Ctrl-C' local.out && break
    kill -0 $node 2>/dev/null || break
    sleep 0.05
done
if grep -q '2 nodes ready' local.out; then good; else bad "local --nodes 2" "$(cat local.out local/node-*/log.txt)"; fi
says 'OK' query --address "127.0.0.1:$((port + 11))" SET kept yes
expect 1 "does not remove 'local/node-.*in use by process" local --nodes 2 --port $((port + 20)) --dir local --fresh
child=$(sed -nE 's/^ +2 +127\.0\.0\.1:[0-9]+ +([0-9]+) .*/\1/p' local.out)
kill -KILL "$child"
for _ in $(seq 100); do grep -q 'node 2 .*signal 9' local.out && break; sleep 0.05; done
if grep -q 'node 2 (process .*signal 9.*' local.out && kill -0 $node; then good; else bad "a killed node is reported" "$(cat local.out)"; fi
stop
"$cairn" local --nodes 2 --port $((port + 10)) --dir local >local.out 2>&1 &
node=$!
for _ in $(seq 600); do
    grep -q 'Ctrl-C' local.out && break
    kill -0 $node 2>/dev/null || break
    sleep 0.05
done
says '"yes"' query --address "127.0.0.1:$((port + 10))" GET kept
children=$(sed -nE 's/^ +[12] +127\.0\.0\.1:[0-9]+ +([0-9]+) .*/\1/p' local.out)
kill -KILL "$node" # its nodes end with it
wait "$node" 2>/dev/null
node=
for _ in $(seq 200); do
    alive=0
    for child in $children; do kill -0 "$child" 2>/dev/null && alive=1; done
    ((alive)) || break
    sleep 0.05
done
if [[ -n $children ]] && ((!alive)); then good; else bad "nodes end with a killed cairn local" "$children"; fi

printf '%d passed, %d failed\n' $passed $failed
exit $((failed != 0))
