#!/bin/sh
# Finds what has to be on the machine before anything here can run, or says in a sentence how to get it.
#
#     bootstrap.sh python    prints the Python to make the virtual environment with ($PYTHON, if set, or the first fit)
#     bootstrap.sh go        succeeds if the control plane of the tests can be had: with Go, or KUBEBUILDER_ASSETS

set -u

oldest_python=3.11

is_new_enough() {
	"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

has_venv() {
	"$1" -c 'import venv, ensurepip' 2>/dev/null
}

fail() {
	echo "$*" >&2
	exit 1
}

find_python() {
	without_venv=
	for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
		is_new_enough "$python" || continue
		if has_venv "$python"; then
			command -v "$python"
			return
		fi
		without_venv=${without_venv:-$python}
	done
	if [ -n "$without_venv" ]; then
		fail "$(command -v "$without_venv") has no venv module: install it (Debian: apt-get install python3-venv)," \
			"or name another Python with make PYTHON=/path/to/python."
	fi
	if [ -n "${PYTHON:-}" ]; then
		fail "PYTHON is $PYTHON, which is not a Python $oldest_python or newer: name another, or unset it."
	fi
	fail "Python $oldest_python or newer is needed and not on PATH: install it" \
		"(Debian: apt-get install python3 python3-venv), or name one with make PYTHON=/path/to/python."
}

check_go() {
	[ -n "${KUBEBUILDER_ASSETS:-}" ] && return
	command -v go >/dev/null && return
	fail "Go 1.24 or newer is needed to build a Kubernetes control plane, and not on PATH: install it from the Go" \
		"project's site or your system's packages (Debian: apt-get install golang), or set KUBEBUILDER_ASSETS to a" \
		"directory with etcd, kube-apiserver, kube-controller-manager, kubectl and helm."
}

case ${1:-} in
python) find_python ;;
go) check_go ;;
*) fail "usage: bootstrap.sh python|go" ;;
esac
