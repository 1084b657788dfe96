class ComposeStack:
    kind = "compose"

    def __init__(self, project, *, docker_host, timeout_seconds): ...
