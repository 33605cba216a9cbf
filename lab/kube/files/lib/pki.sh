# Certificates and kubeconfigs, under $STATE/pki.

issue() { # NAME SUBJECT [EXTENSION...]
	local name=$1 subj=$2 ext=(); shift 2
	while (( $# )); do ext+=(-addext "$1"); shift; done
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 \
		-CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -subj "$subj" \
		-addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature "${ext[@]}" \
		-keyout "$PKI/$name.key" -out "$PKI/$name.crt" 2>>"$PKI/openssl.log" || { tail "$PKI/openssl.log" >&2; die "openssl: $name"; }
}

kubeconfig() { # FILE CERT [SERVER]
	cat >"$1" <<-END
	apiVersion: v1
	kind: Config
	clusters:
	- name: $NAME
	  cluster:
	    server: ${3-https://$(url_host "$(node_ip n1)"):6443}
	    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
	users:
	- name: $2
	  user:
	    client-certificate-data: $(base64 -w0 "$PKI/$2.crt")
	    client-key-data: $(base64 -w0 "$PKI/$2.key")
	contexts:
	- name: $NAME
	  context: {cluster: $NAME, user: $2}
	current-context: $NAME
	END
	chmod 600 "$1"
}

make_pki() {
	PKI=$STATE/pki
	mkdir -p "$PKI"; chmod 700 "$PKI"
	local client=extendedKeyUsage=clientAuth san n ip
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -subj "/CN=$NAME-ca" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature \
		-keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>>"$PKI/openssl.log" || die "openssl: ca"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -subj "/CN=$NAME-front-proxy-ca" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature \
		-keyout "$PKI/front-proxy-ca.key" -out "$PKI/front-proxy-ca.crt" 2>>"$PKI/openssl.log" || die "openssl: front-proxy-ca"
	san="DNS:n1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
	for ip in 127.0.0.1 ::1 "$(node_ip4 n1)" "$(node_ip6 n1)" "${SVC_CIDR4%.0/*}.1" "${SVC_CIDR6%/*}1"; do san+=",IP:$ip"; done
	issue apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth "subjectAltName=$san"
	issue admin /O=system:masters/CN=kubernetes-admin $client
	issue apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client $client
	issue kube-controller-manager /CN=system:kube-controller-manager $client
	issue kube-scheduler /CN=system:kube-scheduler $client
	issue kube-proxy /CN=system:kube-proxy $client
	( CA=front-proxy-ca
	  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -CA "$PKI/$CA.crt" -CAkey "$PKI/$CA.key" \
		-subj /CN=front-proxy-client -addext basicConstraints=critical,CA:FALSE -addext $client \
		-keyout "$PKI/front-proxy-client.key" -out "$PKI/front-proxy-client.crt" 2>>"$PKI/openssl.log" ) || die "openssl: front-proxy-client"
	for n in $(nodes); do issue "$n" "/O=system:nodes/CN=system:node:$n" $client; done
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$PKI/sa.key" 2>>"$PKI/openssl.log" &&
		openssl pkey -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" || die "openssl: sa"
	kubeconfig "$KUBECONFIG_FILE" admin
}
