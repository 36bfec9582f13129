"""The variable names that an event may not set."""

import json
import re
from collections.abc import Iterator

import pytest

from orchestrator import InvalidEvent
from orchestrator.builders.refused_names import FAMILIES, family_of
from orchestrator.builders.variables import job_variables
from orchestrator.lifecycle.deployment import PASSED_ON
from tests.support.events import EVENTS, SAMPLES

REFUSED = {
    "this package": "ORCHESTRATOR_RUN_ID ORCHESTRATOR_ANYTHING",
    "build systems": "CODEBUILD_SRC_DIR JENKINS_HOME HUDSON_URL BUILD_URL JOB_NAME",
    "shells": "PATH ENV BASH_ENV BASHOPTS SHELLOPTS PS4 PROMPT_COMMAND CDPATH GLOBIGNORE IFS ZDOTDIR FPATH INPUTRC",
    "Windows": "PATHEXT COMSPEC PSMODULEPATH SYSTEMROOT WINDIR USERPROFILE APPDATA __COMPAT_LAYER",
    "loaders and C libraries": "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GLIBC_TUNABLES GCONV_PATH LOCPATH MALLOC_CHECK_ "
    "HOSTALIASES RES_OPTIONS NLSPATH DYLD_INSERT_LIBRARIES",
    "places and programs": "HOME TMPDIR EDITOR VISUAL PAGER LESSOPEN TAR_OPTIONS GREP_OPTIONS XDG_CONFIG_HOME",
    "make and compilers": "MAKEFLAGS MAKEFILES CC CXX CFLAGS LDFLAGS LD CPATH LIBRARY_PATH GCC_EXEC_PREFIX CONFIG_SITE "
    "PKG_CONFIG_PATH CMAKE_PREFIX_PATH",
    "Python": "PYTHONPATH PYTHONSTARTUP PYTHONHOME PIP_INDEX_URL PIP_CONFIG_FILE UV_INDEX_URL POETRY_HOME CONDA_PREFIX "
    "PYTEST_ADDOPTS VIRTUAL_ENV",
    "Node.js": "NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED NPM_CONFIG_REGISTRY "
    "YARN_RC_FILENAME PNPM_HOME COREPACK_NPM_REGISTRY",
    "Perl": "PERL5OPT PERL5LIB PERL5DB PERLLIB PERL_MB_OPT",
    "Ruby": "RUBYOPT RUBYLIB GEM_HOME GEM_PATH BUNDLE_GEMFILE",
    "Java": "JAVA_TOOL_OPTIONS JAVA_HOME JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH MAVEN_OPTS GRADLE_OPTS SBT_OPTS",
    "PHP": "PHPRC PHP_INI_SCAN_DIR COMPOSER_HOME",
    "Go": "GOFLAGS GOPROXY GOPATH GOROOT GOENV GOSUMDB GOTOOLCHAIN CGO_CFLAGS",
    "Rust": "RUSTFLAGS RUSTC_WRAPPER CARGO_HOME RUSTUP_HOME",
    ".NET": "DOTNET_STARTUP_HOOKS NUGET_PACKAGES CORECLR_PROFILER COMPLUS_VERSION MSBUILDSDKSPATH",
    "other languages": "LUA_INIT ERL_LIBS R_PROFILE JULIA_LOAD_PATH AWKPATH",
    "system packages": "APT_CONFIG DPKG_ROOT HOMEBREW_PREFIX NIX_PATH",
    "TLS and downloads": "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE OPENSSL_CONF WGETRC NETRC "
    "SSLKEYLOGFILE",
    "proxies": "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY FTP_PROXY SOCKS_PROXY",
    "git, ssh and gpg": "GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_EXEC_PATH SSH_AUTH_SOCK SSH_ASKPASS GNUPGHOME SVN_SSH "
    "GITHUB_TOKEN",
    "infrastructure tools": "TF_CLI_ARGS_init TF_CLI_CONFIG_FILE TF_VAR_region TF_KEYS TERRAGRUNT_TFPATH PULUMI_HOME "
    "ANSIBLE_CONFIG HELM_PLUGINS KUBECONFIG DOCKER_HOST DOCKER_CONFIG VAULT_ADDR",
    "cloud credentials": "AWS_REGION AWS_ACCESS_KEY_ID AZURE_CLIENT_SECRET ARM_CLIENT_ID GOOGLE_CREDENTIALS "
    "CLOUDSDK_CONFIG OS_AUTH_URL",
}
NAMES = [(family, name) for family, names in REFUSED.items() for name in names.split()]

HARMLESS = (
    *("INSTANCE_COUNT", "STORAGE_GB", "HIGH_AVAILABILITY", "REGION", "DOMAIN", "GOAL", "RUNTIME", "NODE_COUNT", "GO"),
    *("NODE_ENV", "LANG", "TZ", "USER", "PORT", "WORKSPACE", "PROXY_COUNT", "HISTORY_DAYS", "PUBLIC", "PROMPT"),
    *("JAVA", "PHP", "MAKER", "HOMEPAGE", "PATHS", "TIER", "TFKEY", "AWSOME", "PYTHO", "GITOPS", "DOCKERED", "_"),
    *("tier", "jobName", "instanceSize", "tokenExpirationSeconds", "planConfig", "userPoolId", "CONTROL_PLANE_HOST"),
    *("tier", "TENANT_ID", "LICENSE_KEY", "DB_PASSWORD", "SIZE", "CPU", "MEMORY_MB", "CURRENCY", "LOCALE"),
)


def sent_by_the_reference() -> Iterator[str]:
    """Yield the variables that the samples set, and those that a deployment gets from the previous build."""
    yield from PASSED_ON
    for file in SAMPLES:
        text = (EVENTS / file.name).read_text(encoding="utf-8")
        for found in re.finditer(r'"(environmentOverride|sizeConfig)": ', text):
            yield from json.JSONDecoder().raw_decode(text, found.end())[0]


def refusal(name: str) -> str:
    with pytest.raises(InvalidEvent) as caught:
        job_variables({}, {name: "do-not-tell"}, {})
    message = str(caught.value)
    assert "do-not-tell" not in message
    assert message.startswith(f"job variable '{name}' can change how a build runs")
    return message


def test_the_list_is_long_and_names_each_family() -> None:
    assert len(NAMES) > 150
    assert REFUSED.keys() == FAMILIES.keys()


@pytest.mark.parametrize(("family", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_name_is_refused_in_any_case_of_letters(family: str, name: str) -> None:
    for spelled in (name, name.upper(), name.lower(), name.title(), name.swapcase()):
        assert f"({family})" in refusal(spelled)


@pytest.mark.parametrize("name", ["Path", "PathExt", "ComSpec", "PSModulePath", "http_proxy", "Git_Ssh_Command"])
def test_a_name_is_refused_in_the_spelling_of_its_readers(name: str) -> None:
    refusal(name)


@pytest.mark.parametrize("name", sorted({*HARMLESS, *sent_by_the_reference()}))
def test_a_harmless_name_is_passed(name: str) -> None:
    assert job_variables({}, {name: "x"}, {}) == {name: "x"}


def test_the_table_is_in_upper_case_and_without_duplicates() -> None:
    words = [
        word
        for family in FAMILIES.values()
        for words in (family.names, family.prefixes, family.suffixes)
        for word in words.split()
    ]

    assert [word for word in words if word != word.upper()] == []
    assert len(set(words)) == len(words)
    assert [name for family in FAMILIES.values() for name in family.names.split() if family_of(name) is None] == []


def test_a_tier_may_set_variables_that_an_event_may_not() -> None:
    assert job_variables({"GIT_SSH_COMMAND": "ssh -v"}, {}, {}) == {"GIT_SSH_COMMAND": "ssh -v"}
