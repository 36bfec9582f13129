"""Lists the names of the variables that an event must not set, because they change how a build runs.

Names are compared without regard to case. Some common names are not in the list, because a tenant's own variables are
likely to have them: `REGION`, `NODE_COUNT`, `USER` and `WORKSPACE`. `NODE_ENV` is not in the list either, because it
selects a mode and loads no code.

A tier's attribute `allowedVariables` can list the names that events may set for the tier's jobs (see
`orchestrator.stores.tiers`). The list in this module is then ignored. However, no event may ever set a variable whose
name begins with `ORCHESTRATOR_`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

OWN_FAMILY = "this package"
"""The name of the family of variables that this package sets itself. No event may set them."""

# The reference service's own events set these two. Their names begin with TF_, but Terraform does not read them.
_HARMLESS = frozenset({"TF_STATE_BUCKET", "TF_KEY"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The names of the variables that one kind of program reads.

    Each attribute is a text of words in upper case, separated by spaces.

    Attributes:
        names: Whole names.
        prefixes: Beginnings of names.
        suffixes: Ends of names.
    """

    names: str = ""
    prefixes: str = ""
    suffixes: str = ""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        OWN_FAMILY: Family(prefixes="ORCHESTRATOR_"),
        "build systems": Family(
            names="BUILD_ID BUILD_NUMBER BUILD_TAG BUILD_URL JOB_BASE_NAME JOB_NAME JOB_URL",
            prefixes="CODEBUILD_ HUDSON_ JENKINS_",
        ),
        "shells": Family(
            # https://www.gnu.org/software/bash/manual/html_node/Shell-Variables.html
            names="BASH BASHOPTS CDPATH ENV EXECIGNORE FIGNORE FPATH FUNCNEST GLOBIGNORE HISTCONTROL HISTFILE "
            "HISTFILESIZE HISTIGNORE HISTSIZE HISTTIMEFORMAT IFS INPUTRC MAILPATH PATH POSIXLY_CORRECT "
            "PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 SHELL SHELLOPTS TMOUT ZDOTDIR",
            prefixes="BASH_ KSH_ ZSH_",
        ),
        "Windows": Family(
            # https://learn.microsoft.com/windows/deployment/usmt/usmt-recognized-environment-variables
            names="ALLUSERSPROFILE APPDATA COMMONPROGRAMFILES COMSPEC HOMEDRIVE HOMEPATH LOCALAPPDATA PATHEXT "
            "PROGRAMDATA PROGRAMFILES PSEXECUTIONPOLICYPREFERENCE PSMODULEANALYSISCACHEPATH PSMODULEPATH "
            "SYSTEMDRIVE SYSTEMROOT USERPROFILE WINDIR __COMPAT_LAYER __PSLOCKDOWNPOLICY",
            prefixes="POWERSHELL_",
        ),
        "loaders and C libraries": Family(
            # https://man7.org/linux/man-pages/man8/ld.so.8.html, and what glibc unsets for set-user-ID programs
            names="GCONV_PATH GDAL_DRIVER_PATH GETCONF_DIR GIO_MODULE_DIR GLIBC_TUNABLES GST_PLUGIN_PATH GTK_MODULES "
            "GTK_PATH HOSTALIASES LIBPATH LOCALDOMAIN LOCPATH NIS_PATH NLSPATH QT_PLUGIN_PATH RES_OPTIONS "
            "SHLIB_PATH TZDIR _RJEM_MALLOC_CONF",
            prefixes="ASAN_ DYLD_ LD_ LSAN_ MAGICK_ MALLOC_ MSAN_ RESOLV_ TSAN_ UBSAN_ __XPC_",
        ),
        "places and programs": Family(
            names="BROWSER BZIP BZIP2 EDITOR EXINIT FCEDIT GREP_OPTIONS GZIP HOME LESS LESSCLOSE LESSOPEN MANOPT "
            "MANPAGER MYSQL_HOME ODBCINI ODBCSYSINI OLDPWD PAGER PGPASSFILE PGSERVICEFILE PGSYSCONFDIR PSQLRC "
            "PSQL_EDITOR PSQL_PAGER PWD RIPGREP_CONFIG_PATH SYSTEMD_PAGER TAR_OPTIONS TAR_READER_OPTIONS "
            "TAR_WRITER_OPTIONS TEMP TERMCAP TMP TMPDIR TNS_ADMIN UNZIP UNZIPOPT VIMINIT VISUAL XZ_DEFAULTS "
            "XZ_OPT ZIPOPT",
            prefixes="SUDO_ TERMINFO XDG_",
        ),
        "make and compilers": Family(
            # https://gcc.gnu.org/onlinedocs/gcc/Environment-Variables.html
            names="AR ARFLAGS AS ASFLAGS CC CCC_OVERRIDE_OPTIONS CFLAGS CL COMPILER_PATH CONFIG_SHELL CONFIG_SITE "
            "CPATH CPLUS_INCLUDE_PATH CPP CPPFLAGS CXX CXXFLAGS C_INCLUDE_PATH FC FFLAGS GNUMAKEFLAGS LD "
            "LDFLAGS LDLIBS LEX LIBRARY_PATH M4PATH MAKEFILES MAKEFLAGS MAKELEVEL MAKEOVERRIDES MAKESHELL "
            "MFLAGS NM OBJCOPY OBJC_INCLUDE_PATH OBJDUMP RANLIB STRIP USE_BAZEL_VERSION YACC _CL_ _LINK_",
            prefixes="ACLOCAL_ AUTOCONF_ AUTOM4TE BAZELISK_ CCACHE_ CMAKE_ COLLECT_GCC COLLECT_LTO_ CTEST_ DISTCC_ "
            "GCC_ MESON_ NINJA_ PKG_CONFIG SCCACHE_",
        ),
        "Python": Family(
            # https://docs.python.org/3/using/cmdline.html#environment-variables
            names="CONDARC COVERAGE_PROCESS_START GUNICORN_CMD_ARGS MAMBARC VIRTUAL_ENV __PYVENV_LAUNCHER__",
            prefixes="CONDA_ DISTUTILS_ HATCH_ IPYTHON MAMBA_ PDM_ PIPENV_ PIPX_ PIP_ PIXI_ POETRY_ PYENV_ PYTEST_ "
            "PYTHON RYE_ SETUPTOOLS_ TOX_ TWINE_ UV_",
        ),
        "Node.js": Family(
            # https://nodejs.org/api/cli.html#environment-variables
            names="ESBUILD_BINARY_PATH NODE_CHANNEL_FD NODE_COMPILE_CACHE NODE_DEBUG NODE_DEBUG_NATIVE "
            "NODE_EXTRA_CA_CERTS NODE_ICU_DATA NODE_OPTIONS NODE_PATH NODE_PENDING_DEPRECATION "
            "NODE_PRESERVE_SYMLINKS NODE_PRESERVE_SYMLINKS_MAIN NODE_REDIRECT_WARNINGS "
            "NODE_REPL_EXTERNAL_MODULE NODE_REPL_HISTORY NODE_TEST_CONTEXT NODE_TLS_REJECT_UNAUTHORIZED "
            "NODE_USE_ENV_PROXY NODE_USE_SYSTEM_CA NODE_V8_COVERAGE",
            prefixes="BUN_ COREPACK_ DENO_ ELECTRON_ FNM_ NODENV_ NPM_ NVM_ PLAYWRIGHT_ PNPM_ PUPPETEER_ TS_NODE_ "
            "VOLTA_ YARN_",
        ),
        "Perl": Family(prefixes="PERL"),
        "Ruby": Family(
            names="RAKEOPT RUBYLIB RUBYLIB_PREFIX RUBYOPT RUBYPATH RUBYSHELL",
            prefixes="BUNDLER_ BUNDLE_ GEM_ RBENV_ RUBYGEMS_ RUBY_ RVM_",
        ),
        "Java": Family(
            names="CLASSPATH EXTRA_CLASSPATH IBM_JAVA_OPTIONS JAVACMD M2_HOME OPENJ9_JAVA_OPTIONS",
            prefixes="ANT_ CATALINA_ COURSIER_ GRADLE_ GROOVY_ HADOOP_ JAVA_ JDK_ JPDA_ JRE_ KOTLIN_ LEIN_ MAVEN_ "
            "MVNW_ ORG_GRADLE_ SBT_ SCALA_ _JAVA_",
        ),
        "PHP": Family(names="COMPOSER PHPRC", prefixes="COMPOSER_ PHP_"),
        "Go": Family(
            # go help environment
            names="GCCGO GCCGOTOOLDIR GO111MODULE GO386 GOAMD64 GOARCH GOARM GOARM64 GOAUTH GOBIN GOCACHE "
            "GOCACHEPROG GOCOVERDIR GODEBUG GOENV GOEXE GOEXPERIMENT GOFIPS140 GOFLAGS GOGC GOHOSTARCH "
            "GOHOSTOS GOINSECURE GOMAXPROCS GOMEMLIMIT GOMODCACHE GONOPROXY GONOSUMCHECK GONOSUMDB GOOS GOPATH "
            "GOPRIVATE GOPROXY GOROOT GOROOT_FINAL GOSUMDB GOTELEMETRYDIR GOTMPDIR GOTOOLCHAIN GOTOOLDIR "
            "GOTRACEBACK GOVCS GOWORK",
            prefixes="CGO_",
        ),
        "Rust": Family(
            names="CARGO RUSTC RUSTDOC RUSTDOCFLAGS RUSTFLAGS RUSTFMT", prefixes="CARGO_ RUSTC_ RUSTUP_ RUST_"
        ),
        ".NET": Family(
            prefixes="ASPNETCORE_ COMPLUS_ CORECLR_ COREHOST_ COR_ CUSTOMAFTERMICROSOFT CUSTOMBEFOREMICROSOFT "
            "DOTNET_ MSBUILD NUGET_ VSTEST_",
        ),
        "other languages": Family(
            names="AWKLIBPATH AWKPATH CAML_LD_LIBRARY_PATH ERLC_COMPILER_OPTIONS GHCRTS HEX_API_URL HEX_HOME "
            "HEX_MIRROR OCAMLPARAM OCAMLRUNPARAM PUB_CACHE PUB_HOSTED_URL R_ENVIRON R_ENVIRON_USER R_HOME "
            "R_LIBS R_LIBS_SITE R_LIBS_USER R_MAKEVARS_SITE R_MAKEVARS_USER R_PROFILE R_PROFILE_USER "
            "STACK_ROOT STACK_YAML TCLLIBPATH TCL_LIBRARY",
            prefixes="ASDF_ CABAL_ ELIXIR_ ERL_ FLUTTER_ GHC_ GUILE_ JULIA_ LUAROCKS_ LUA_ MISE_ MIX_ OPAM REBAR_ "
            "SDKMAN_",
        ),
        "system packages": Family(
            prefixes="APT_ CHOCOLATEY CONAN_ DEBCONF_ DEBIAN_ DNF_VAR_ DPKG_ HOMEBREW_ NIX_ RPM_ VCPKG_",
        ),
        "TLS and downloads": Family(
            # https://curl.se/docs/manpage.html#ENVIRONMENT
            names="HTTPLIB2_CA_CERTS NETRC REQUESTS_CA_BUNDLE SSLKEYLOGFILE SYSTEM_WGETRC WGETRC",
            prefixes="CURL_ GNUTLS_ KRB5 OPENSSL_ SSL_CERT_",
        ),
        "proxies": Family(suffixes="_PROXY"),
        "git, ssh and gpg": Family(
            # https://git-scm.com/docs/git#_environment_variables
            names="CVSROOT CVS_RSH GH_CONFIG_DIR GH_HOST GH_TOKEN GITHUB_TOKEN GITLAB_TOKEN GNUPGHOME HGEDITOR "
            "HGMERGE HGPLAIN HGRCPATH SSHPASS",
            prefixes="GCM_ GIT_ GPG_ RSYNC_ SSH_ SVN_",
        ),
        "infrastructure tools": Family(
            # https://developer.hashicorp.com/terraform/cli/config/environment-variables
            names="CONTAINERS_REGISTRIES_CONF CONTAINERS_STORAGE_CONF CONTAINER_HOST REGISTRY_AUTH_FILE "
            "SERVERLESS_ACCESS_KEY",
            prefixes="ANSIBLE_ BUILDAH_ BUILDKIT_ BUILDX_ CDK_ CHEF_ COMPOSE_ CONSUL_ CONTAINERS_CONF DOCKER_ HELM_ "
            "KUBE NOMAD_ PACKER_ PKR_ PODMAN_ PULUMI_ SAM_CLI_ SLS_ TENV_ TERRAFORM_ TERRAGRUNT_ TFENV_ "
            "TFLINT_ TF_ TG_ TOFU_ VAGRANT_ VAULT_",
        ),
        "cloud credentials": Family(
            names="BOTO_CONFIG GCP_AUTH_KIND GCP_SERVICE_ACCOUNT_CONTENTS GCP_SERVICE_ACCOUNT_FILE IDENTITY_ENDPOINT "
            "IDENTITY_HEADER MSI_ENDPOINT MSI_SECRET OS_AUTH_URL OS_CLIENT_CONFIG_FILE OS_CLOUD OS_PASSWORD "
            "OS_TOKEN OS_USERNAME",
            prefixes="ALIBABA_CLOUD_ ALICLOUD_ ARM_ AWS_ AZURE_ CLOUDFLARE_ CLOUDSDK_ DIGITALOCEAN_ GCE_ GCLOUD_ "
            "GOOGLE_ HCLOUD_ HEROKU_ IBMCLOUD_ LINODE_ OCI_ RCLONE_ SCW_ TENCENTCLOUD_ VSPHERE_",
        ),
    }
)
"""The families of refused names. Each key is the family's name, which error messages show."""

_NAMES = {name: family for family, table in FAMILIES.items() for name in table.names.split()}
_PREFIXES = {prefix: family for family, table in FAMILIES.items() for prefix in table.prefixes.split()}
_SUFFIXES = {suffix: family for family, table in FAMILIES.items() for suffix in table.suffixes.split()}
_ANY_PREFIX, _ANY_SUFFIX = tuple(_PREFIXES), tuple(_SUFFIXES)


def family_of(name: str) -> str | None:
    """Return the name of the family in `FAMILIES` that a variable's name belongs to.

    Return `None` if the name belongs to no family, and for `TF_STATE_BUCKET` and `TF_KEY`, which Terraform ignores.

    Example:
        >>> family_of("Git_Ssh_Command"), family_of("INSTANCE_COUNT")
        ('git, ssh and gpg', None)
    """
    upper = name.upper()
    if upper in _HARMLESS:
        return None
    if upper in _NAMES:
        return _NAMES[upper]
    if upper.startswith(_ANY_PREFIX):
        return next(family for prefix, family in _PREFIXES.items() if upper.startswith(prefix))
    if upper.endswith(_ANY_SUFFIX):
        return next(family for suffix, family in _SUFFIXES.items() if upper.endswith(suffix))
    return None
