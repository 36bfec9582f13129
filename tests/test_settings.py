"""Settings and their effects."""

import pytest

from orchestrator import ConfigurationError, Registry, Settings, create_handler


def test_an_empty_variable_counts_as_unset() -> None:
    settings = Settings.from_environment({"TIER_DETAILS_TABLE": " ", "DEFAULT_BUILDER": "", "DATA_STORE_TABLE": "t"})

    assert settings == Settings(data_store_table="t")


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "TIER_DETAILS_TABLE": "tiers",
            "TIER_DETAILS_MAX_AGE": "60",
            "DATA_STORE_TABLE": "tenants",
            "DYNAMO_DB_REGION": "eu-west-1",
            "CODE_BUILD_REGION": "eu-west-2",
            "AWS_REGION": "eu-west-3",
            "DEFAULT_BUILDER": "OWN",
            "JENKINS_URL": "https://jenkins.example.com",
            "JENKINS_CREDENTIALS_SECRET": "jenkins",
            "JENKINS_CA_BUNDLE": "/opt/ca.pem",
            "JENKINS_BUILD_LOOKUP": "true",
            "JENKINS_ALLOW_HTTP": "true",
            "UNRELATED": "x",
        }
    )

    assert settings == Settings(
        tier_details_table="tiers",
        tier_details_max_age=60,
        data_store_table="tenants",
        dynamo_db_region="eu-west-1",
        code_build_region="eu-west-2",
        aws_region="eu-west-3",
        default_builder="OWN",
        jenkins_url="https://jenkins.example.com",
        jenkins_credentials_secret="jenkins",
        jenkins_ca_bundle="/opt/ca.pem",
        jenkins_build_lookup=True,
        jenkins_allow_http=True,
    )


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_wrong_value_is_named_when_the_handler_is_created(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TIER_DETAILS_MAX_AGE", value)

    with pytest.raises(ConfigurationError, match="environment variable TIER_DETAILS_MAX_AGE") as caught:
        create_handler(Registry())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "jenkins.example.com",
        "ftp://jenkins.example.com",
        "https://",
        "https://admin:do-not-tell@jenkins.example.com",
        "https://jenkins.example.com/?token=do-not-tell",
        "https://jenkins.example.com/#x",
        "https://jenkins.example.com:99999",
        "https://jenkins.example.com/a b",
        "https://[jenkins",
    ],
)
def test_an_invalid_address_of_jenkins_is_an_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="environment variable JENKINS_URL is wrong: it must be an") as caught:
        Settings.from_environment({"JENKINS_URL": url})
    assert "do-not-tell" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    ["jenkins.example.com", "10.0.0.7:8080", "localhost.example.com", "127.example.com", "[2001:db8::1]", "2130706433"],
)
def test_a_jenkins_without_tls_is_refused_when_the_handler_is_created(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("JENKINS_URL", f"http://{host}/jenkins")

    message = r"environment variable JENKINS_URL is wrong: without TLS, .* use https, or set JENKINS_ALLOW_HTTP to true"
    with pytest.raises(ConfigurationError, match=message):
        create_handler(Registry())
    monkeypatch.setenv("JENKINS_ALLOW_HTTP", "false")
    with pytest.raises(ConfigurationError, match=message):
        create_handler(Registry())


@pytest.mark.parametrize("host", ["jenkins.example.com", "10.0.0.7:8080"])
def test_a_jenkins_without_tls_is_accepted_if_the_setting_allows_it(host: str) -> None:
    url = f"http://{host}"

    assert Settings.from_environment({"JENKINS_URL": url, "JENKINS_ALLOW_HTTP": "true"}).jenkins_url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://jenkins.example.com",
        "http://localhost:8080",
        "http://127.0.0.9",
        "http://[::1]:8080/x",
        "HTTP://LOCALHOST",
    ],
)
def test_a_jenkins_with_tls_or_on_loopback_is_accepted(url: str) -> None:
    assert Settings.from_environment({"JENKINS_URL": url}).jenkins_url == url


def test_an_invalid_http_setting_is_the_only_reported_fault() -> None:
    with pytest.raises(ConfigurationError, match="JENKINS_ALLOW_HTTP is wrong") as caught:
        Settings.from_environment({"JENKINS_URL": "http://jenkins.example.com", "JENKINS_ALLOW_HTTP": "maybe"})
    assert "JENKINS_URL" not in str(caught.value)


def test_a_trailing_slash_of_an_address_is_ignored() -> None:
    assert Settings.from_environment({"JENKINS_URL": "https://ci.example.com/jenkins/"}).jenkins_url == (
        "https://ci.example.com/jenkins"
    )


@pytest.mark.parametrize("name", ["DYNAMO_DB_REGION", "CODE_BUILD_REGION", "EVENT_BUS_AWS_REGION"])
def test_an_invalid_region_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"environment variable {name} is wrong: it must be the name"):
        Settings.from_environment({name: "mars"})


def test_an_unknown_default_builder_is_named_when_the_handler_is_created() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'JENKIN' is not registered \(registered: CODE_BUILD, JENKINS, STEP_FUNCTIONS\)"
    ):
        create_handler(Registry(), settings=Settings(default_builder="JENKIN"))


def test_hosts_are_read_from_a_list_with_commas() -> None:
    settings = Settings.from_environment({"CALLBACK_ALLOWED_HOSTS": "a.example.com, .b.example.com,"})

    assert settings.callback_allowed_hosts == ("a.example.com", ".b.example.com")
