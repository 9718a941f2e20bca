# bash completion for pyhot(1)

_pyhot()
{
    local cur prev words cword
    _init_completion -s 2>/dev/null || {
        cur=${COMP_WORDS[COMP_CWORD]}
        prev=${COMP_WORDS[COMP_CWORD - 1]}
        words=("${COMP_WORDS[@]}")
        cword=$COMP_CWORD
    }
    local common='--json --timeout --quiet --verbose --color --help --usage --version'

    if ((cword == 1)); then
        COMPREPLY=($(compgen -W 'attach list-stale where watch ps --help --usage --version' -- "$cur"))
        return
    fi
    case $prev in
    --color)
        COMPREPLY=($(compgen -W 'auto always never' -- "$cur"))
        return
        ;;
    --data)
        COMPREPLY=($(compgen -W 'auto new keep' -- "$cur"))
        return
        ;;
    --graph)
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    --via)
        COMPREPLY=($(compgen -W 'auto ptrace remote-exec' -- "$cur"))
        return
        ;;
    --timeout | --new | --keep)
        return
        ;;
    esac

    local options=$common
    case ${words[1]} in
    attach) options+=' --dry-run --data --new --keep --force --stale --tree --via' ;;
    list-stale) options+=' --objects --graph --exit-code --tree --via' ;;
    where) options+=' --tree --via' ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi

    # The first word that is no option is the process, what follows are its modules.
    local i pid=
    for ((i = 2; i < cword; i++)); do
        [[ ${words[i]} =~ ^[0-9]+$ && ${words[i - 1]} != --timeout ]] && pid=${words[i]} && break
    done
    if [[ ${words[1]} == ps || -z $pid ]]; then
        COMPREPLY=($(compgen -W "$(pyhot ps --quiet --color=never 2>/dev/null |
            awk '/^ *[0-9]/ && $3 ~ /^[0-9]/ { print $1 }')" -- "$cur"))
    elif [[ ${words[1]} != where ]]; then
        COMPREPLY=($(compgen -W "$(pyhot loaded-modules "$pid" 2>/dev/null)" -- "$cur"))
    fi
} &&
    complete -F _pyhot pyhot
