// The shells' side of completion: hand the line to the program, offer what it answers. The answer is one candidate a
// line, `TEXT TAB DESCRIPTION`, and as last line `:files`, `:directories` or `:done`.

const BASH = `# bash completion of composefs
_composefs() {
  local IFS=$'\\n' answer line cur directive=:done
  cur=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  answer=$(composefs __complete bash "$COMP_LINE" "$COMP_POINT" 2>/dev/null) || return 0
  for line in $answer; do
    case $line in
      :*) directive=$line ;;
      *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done
  case $directive in
    :files) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$cur")) ;;
    :directories) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "$cur")) ;;
  esac
  # A candidate that may go on (oci:DIRECTORY) or an option with = gets no blank.
  if [ \${#COMPREPLY[@]} -eq 1 ]; then
    case \${COMPREPLY[0]} in
      *: | *= | */) compopt -o nospace 2>/dev/null ;;
    esac
  fi
  return 0
}
complete -F _composefs composefs
`;

const ZSH = `#compdef composefs
# zsh completion of composefs
_composefs() {
  local answer line directive=:done
  local -a candidates
  answer=$(composefs __complete zsh "\${BUFFER}" "\${CURSOR}" 2>/dev/null) || return 1
  for line in "\${(@f)answer}"; do
    case $line in
      :*) directive=$line ;;
      *) candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done
  (( \${#candidates} )) && _describe -V composefs candidates
  case $directive in
    :files) _files ;;
    :directories) _files -/ ;;
  esac
}
if [ "$funcstack[1]" = _composefs ]; then
  _composefs "$@"
else
  compdef _composefs composefs
fi
`;

const FISH = `# fish completion of composefs
function __composefs_complete
    set -l line (commandline -pc)
    set -l directive :done
    for candidate in (composefs __complete fish "$line" (string length -- "$line") 2>/dev/null)
        if string match -q ':*' -- $candidate
            set directive $candidate
        else
            echo $candidate
        end
    end
    switch $directive
        case :files
            __fish_complete_path (commandline -ct)
        case :directories
            __fish_complete_directories (commandline -ct)
    end
end
complete -c composefs -f -a '(__composefs_complete)'
`;

/** The script of each shell. */
export const SHELL_SCRIPTS: ReadonlyMap<string, string> = new Map([
  ["bash", BASH],
  ["zsh", ZSH],
  ["fish", FISH],
]);
