{{/* What a schema cannot say of values: the agent and the operator check it, too, but an
     upgrade should not get as far as a node. Each error has the key, the value and the
     way out. */}}

{{/* weir.error: appends to the errors of what weir.read gathers. */}}
{{- define "weir.error" -}}
{{- $r := index . 0 -}}
{{- $_ := set $r "errors" (append $r.errors (index . 1)) -}}
{{- end -}}

{{/* weir.cidr: a CIDR as {family, bits, width, parts}, or {}. */}}
{{- define "weir.cidr" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $out := dict -}}
{{- $parts := list -}}
{{- $halves := splitList "/" . -}}
{{- if regexMatch (printf "^(%s\\.){3}%s/(3[0-2]|[12]?[0-9])$" $octet $octet) . -}}
{{- range splitList "." (first $halves) -}}{{- $parts = append $parts (int64 .) -}}{{- end -}}
{{- $out = dict "family" "IPv4" "bits" (int64 (last $halves)) "width" 8 "parts" $parts -}}
{{- else if regexMatch "^[0-9A-Fa-f:]+/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$" . -}}
{{- $sides := splitList "::" (first $halves) -}}
{{- $left := first $sides | splitList ":" -}}
{{- $right := list -}}
{{- if eq (len $sides) 2 -}}
{{- if eq (first $sides) "" -}}{{- $left = list -}}{{- end -}}
{{- if ne (last $sides) "" -}}{{- $right = last $sides | splitList ":" -}}{{- end -}}
{{- end -}}
{{- $missing := sub 8 (add (len $left) (len $right)) -}}
{{- $good := or (and (eq (len $sides) 2) (gt $missing 0)) (and (eq (len $sides) 1) (eq $missing 0)) -}}
{{- range concat $left $right -}}
{{- if not (regexMatch "^[0-9A-Fa-f]{1,4}$" .) -}}{{- $good = false -}}{{- end -}}
{{- end -}}
{{- if $good -}}
{{- range $left -}}{{- $parts = append $parts (int64 (printf "0x%s" .)) -}}{{- end -}}
{{- range until (int $missing) -}}{{- $parts = append $parts 0 -}}{{- end -}}
{{- range $right -}}{{- $parts = append $parts (int64 (printf "0x%s" .)) -}}{{- end -}}
{{- $out = dict "family" "IPv6" "bits" (int64 (last $halves)) "width" 16 "parts" $parts -}}
{{- end -}}
{{- end -}}
{{- $out | toJson -}}
{{- end -}}

{{/* weir.masked: the address of a CIDR with nothing set behind so many bits. */}}
{{- define "weir.masked" -}}
{{- $cidr := index . 0 -}}
{{- $bits := int64 (index . 1) -}}
{{- $width := int64 $cidr.width -}}
{{- $sizes := list 1 2 4 8 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768 65536 -}}
{{- $out := list -}}
{{- range $i, $part := $cidr.parts -}}
{{- $keep := max 0 (min $width (sub $bits (mul $i $width))) -}}
{{- $size := index $sizes (int (sub $width $keep)) -}}
{{- $out = append $out (printf (ternary "%d" "%x" (eq $cidr.family "IPv4")) (mul $size (div (int64 $part) $size))) -}}
{{- end -}}
{{- join (ternary "." ":" (eq $cidr.family "IPv4")) $out -}}
{{- end -}}

{{/* weir.checkCIDRs: the arguments are what weir.read gathers, the name of the key, a list,
     and the family that all have to be of, or "". */}}
{{- define "weir.checkCIDRs" -}}
{{- $r := index . 0 -}}
{{- $key := index . 1 -}}
{{- $family := index . 3 -}}
{{- $example := ternary "fd00::/104" "10.0.0.0/8" (eq $family "IPv6") -}}
{{- range $text := index . 2 -}}
{{- $cidr := include "weir.cidr" $text | fromJson -}}
{{- if not $cidr -}}
{{- include "weir.error" (list $r (printf "%s: %q is not a CIDR such as %s" $key $text $example)) -}}
{{- else if and $family (ne $family $cidr.family) -}}
{{- include "weir.error" (list $r (printf "%s: %s is %s: set one such as %s, or move it to the other family's key" $key $text $cidr.family $example)) -}}
{{- else -}}
{{- $masked := include "weir.masked" (list $cidr $cidr.bits) -}}
{{- if ne $masked (include "weir.masked" (list $cidr 128)) -}}
{{- include "weir.error" (list $r (printf "%s: %s has host bits set: write %s/%v" $key $text $masked $cidr.bits)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.checkPools: the operator's pools of one family. */}}
{{- define "weir.checkPools" -}}
{{- $r := index . 0 -}}
{{- $number := index . 1 -}}
{{- $operator := index . 2 -}}
{{- $family := printf "IPv%s" $number -}}
{{- $key := printf "ipam.operator.clusterPool%sPodCIDRList" $family -}}
{{- $maskKey := printf "clusterPool%sMaskSize" $family -}}
{{- $mask := int64 (get $operator $maskKey) -}}
{{- $pools := include "weir.list" (get $operator (printf "clusterPool%sPodCIDRList" $family)) | fromJsonArray -}}
{{- if not $pools -}}
{{- include "weir.error" (list $r (printf "%s is empty: list CIDRs, or set ipv%s.enabled to false" $key $number)) -}}
{{- end -}}
{{- include "weir.checkCIDRs" (list $r $key $pools $family) -}}
{{- $before := list -}}
{{- range $text := $pools -}}
{{- $cidr := include "weir.cidr" $text | fromJson -}}
{{- if and $cidr (eq $cidr.family $family) -}}
{{- if lt $mask (int64 $cidr.bits) -}}
{{- include "weir.error" (list $r (printf "ipam.operator.%s: %d does not fit the pool %s: use %v to %s" $maskKey $mask $text $cidr.bits (ternary "32" "128" (eq $number "4")))) -}}
{{- end -}}
{{- range $before -}}
{{- $bits := min (int64 .cidr.bits) (int64 $cidr.bits) -}}
{{- if eq (include "weir.masked" (list .cidr $bits)) (include "weir.masked" (list $cidr $bits)) -}}
{{- include "weir.error" (list $r (printf "%s: %s and %s overlap: keep one" $key .text $text)) -}}
{{- end -}}
{{- end -}}
{{- $before = append $before (dict "text" $text "cidr" $cidr) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.checkFamilies: what each family needs. */}}
{{- define "weir.checkFamilies" -}}
{{- $r := index . 0 -}}
{{- $values := index . 1 -}}
{{- $config := $r.config -}}
{{- $native := eq (toString $config.routingMode) "native" -}}
{{- range $number := list "4" "6" -}}
{{- $key := printf "ipv%sNativeRoutingCIDR" $number -}}
{{- $on := eq (toString (get $config (printf "ipv%s.enabled" $number))) "true" -}}
{{- $cidr := get $config $key -}}
{{- if $cidr -}}
{{- include "weir.checkCIDRs" (list $r $key (list $cidr) (printf "IPv%s" $number)) -}}
{{- else if and $native $on -}}
{{- include "weir.error" (list $r (printf "%s is empty, and routingMode is native: set it to the IPv%s range within which the underlay routes pod addresses" $key $number)) -}}
{{- end -}}
{{- if and $on (eq (toString (get $config "ipam.mode")) "cluster-pool") -}}
{{- include "weir.checkPools" (list $r $number $values.ipam.operator) -}}
{{- end -}}
{{- end -}}
{{- if and (ne (toString (get $config "ipv4.enabled")) "true") (ne (toString (get $config "ipv6.enabled")) "true") -}}
{{- include "weir.error" (list $r "ipv4.enabled and ipv6.enabled are both false: set one of them to true") -}}
{{- end -}}
{{- end -}}

{{/* weir.checkMTU: the least depends on the families and the tunnel. */}}
{{- define "weir.checkMTU" -}}
{{- $config := .config -}}
{{- $mtu := get $config "mtu" | int64 -}}
{{- $least := ternary 1280 576 (eq (toString (get $config "ipv6.enabled")) "true") -}}
{{- if eq (toString $config.routingMode) "tunnel" -}}
{{- $least = add $least (ternary 70 50 (eq (toString (get $config "underlayProtocol")) "ipv6")) -}}
{{- end -}}
{{- if and (ne $mtu 0) (lt $mtu (int64 $least)) -}}
{{- include "weir.error" (list . (printf "mtu: %d is out of range: it is the underlay's MTU and must be %d to 65535 here, or 0 to have it detected" $mtu $least)) -}}
{{- end -}}
{{- end -}}

{{/* weir.checkServices: ports and addresses of services, and of the API server. */}}
{{- define "weir.checkServices" -}}
{{- $r := . -}}
{{- $range := get $r.config "nodePort.range" | toString -}}
{{- $ports := splitList "-" $range -}}
{{- $from := first $ports | trim | atoi -}}
{{- $to := last $ports | trim | atoi -}}
{{- if or (lt $from 1) (gt $from $to) (gt $to 65535) -}}
{{- include "weir.error" (list $r (printf "nodePort.range: %s is not a range of ports: write the first and the last, such as 30000-32767" $range)) -}}
{{- end -}}
{{- include "weir.checkCIDRs" (list $r "nodePort.addresses" (include "weir.list" (get $r.config "nodePort.addresses") | fromJsonArray) "") -}}
{{- $name := "[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*" -}}
{{- $port := "(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?" -}}
{{- range include "weir.list" (get $r.config "k8sServiceHost") | fromJsonArray -}}
{{- $host := regexReplaceAll "[?#].*$" . "" -}}
{{- if not (or (regexMatch "^https?://[^@/ ]+(/[^ ]*)?$" $host) (regexMatch (printf "^(%s|\\[[0-9A-Fa-f:.]+\\])%s$" $name $port) .) (regexMatch "^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*$" .)) -}}
{{- include "weir.error" (list $r (printf "k8sServiceHost: %q is not an API server: write a name or an address such as 192.0.2.10, [2001:db8::10]:6443 or https://api.example.org:6443" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.checkBPF: sizes that depend on each other, or are powers of two. */}}
{{- define "weir.checkBPF" -}}
{{- $r := . -}}
{{- $size := get $r.config "bpf.ctSize" | default 65536 | int64 -}}
{{- $limit := get $r.config "bpf.ctLimit" | int64 -}}
{{- if and (ne $limit 0) (lt $limit $size) -}}
{{- include "weir.error" (list $r (printf "bpf.ctLimit: %d is less than bpf.ctSize (%d): raise it, or set it to 0" $limit $size)) -}}
{{- end -}}
{{- range $key := list "bpf.eventsSize" "bpf.tracesSize" -}}
{{- $octets := get $r.config $key | int64 -}}
{{- $power := 65536 -}}
{{- range until 12 -}}{{- if lt (int64 $power) $octets -}}{{- $power = mul 2 $power -}}{{- end -}}{{- end -}}
{{- if and (ne $octets 0) (ne (int64 $power) $octets) -}}
{{- include "weir.error" (list $r (printf "%s: %d is no power of two: use 1048576, for instance" $key $octets)) -}}
{{- end -}}
{{- end -}}
{{- with get $r.config "bpf.monitorInterval" -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|s|m|h)" . -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $seconds = addf $seconds (mulf (float64 (trimSuffix $unit .)) (get (dict "ms" 0.001 "s" 1 "m" 60 "h" 3600) $unit)) -}}
{{- end -}}
{{- if or (lt $seconds 1.0) (gt $seconds 3600.0) -}}
{{- include "weir.error" (list $r (printf "bpf.monitorInterval: %s is not a time between 1s and 1h0m0s, such as 5s" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.checkLists: how long lists may be that were written as texts. */}}
{{- define "weir.checkLists" -}}
{{- $r := . -}}
{{- range $key, $most := dict "bpf.vlanBypass" 8 "hostFirewall.failSafe" 16 -}}
{{- $all := include "weir.list" (get $r.config $key) | fromJsonArray -}}
{{- if gt (len $all) $most -}}
{{- include "weir.error" (list $r (printf "%s: %d of them, and there is room for %d" $key (len $all) $most)) -}}
{{- end -}}
{{- end -}}
{{- $ids := include "weir.list" (get $r.config "bpf.vlanBypass") | fromJsonArray -}}
{{- if ne (len $ids) (len (uniq $ids)) -}}
{{- include "weir.error" (list $r (printf "bpf.vlanBypass: %s has one twice: remove it" (join "," $ids))) -}}
{{- end -}}
{{- range $ids -}}
{{- if gt (int64 .) 4094 -}}
{{- include "weir.error" (list $r (printf "bpf.vlanBypass: %v is not a VLAN id: use 1 to 4094, or 0 for all" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.checkFiles: certificates that go together, and where objects come from. */}}
{{- define "weir.checkFiles" -}}
{{- $r := . -}}
{{- $config := $r.config -}}
{{- if ne (empty (get $config "hubble.tls.certFile")) (empty (get $config "hubble.tls.keyFile")) -}}
{{- include "weir.error" (list $r (printf "hubble.tls.certFile is %q and hubble.tls.keyFile: set both, or neither" (get $config "hubble.tls.certFile"))) -}}
{{- end -}}
{{- if and (get $config "hubble.tls.clientCAFile") (not (get $config "hubble.tls.certFile")) -}}
{{- include "weir.error" (list $r (printf "hubble.tls.clientCAFile: %q, and there is no certificate of nodes: set hubble.tls.certFile, too" (get $config "hubble.tls.clientCAFile"))) -}}
{{- end -}}
{{- if get $config "source.files" -}}
{{- include "weir.error" (list $r (printf "source.files: objects come from the API server here: remove it (it is %q)" (get $config "source.files"))) -}}
{{- end -}}
{{- range include "weir.list" (get $config "devices") | fromJsonArray -}}
{{- if regexMatch "\\[[^]]*$|\\[\\]|\\\\$" . -}}
{{- include "weir.error" (list $r (printf "devices: %q is not a glob: write a name, or a pattern such as eth* or ens[0-9]" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.check: all of it; the arguments are what weir.read gathers, and the values. */}}
{{- define "weir.check" -}}
{{- $r := index . 0 -}}
{{- $values := index . 1 -}}
{{- include "weir.checkFamilies" . -}}
{{- include "weir.checkMTU" $r -}}
{{- include "weir.checkServices" $r -}}
{{- include "weir.checkBPF" $r -}}
{{- include "weir.checkLists" $r -}}
{{- include "weir.checkFiles" $r -}}
{{- include "weir.checkCIDRs" (list $r "ipMasqAgent.config.nonMasqueradeCIDRs" (dig "nonMasqueradeCIDRs" list ($values.ipMasqAgent.config | default dict)) "") -}}
{{- end -}}
