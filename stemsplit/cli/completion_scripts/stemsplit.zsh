#compdef stemsplit

_cyclopts_stemsplit() {
  local line state

  _arguments -C \
    '--help[Display this message and exit.]' \
    '-h[Display this message and exit.]' \
    '--help-all[Display this message and exit.]' \
    '--version[Display application version.]' \
    '1: :->cmds' \
    '*::arg:->args'

  case $state in
    cmds)
      local -a commands
      commands=(
        'separate:Separate audio files into stems.'
        'convert:Convert sample rate, bit depth and format, without separation.'
        'status:Show the progress of a running batch, or how the last one ended.'
        'report:Show every track, run and failure in a folder.'
        'inspect:Show a file'\''s sample rate, bit depth, levels and loudness.'
        'models:List, download, import, verify and remove models.'
        'doctor:Check this installation and this machine, and suggest fixes.'
        'demo:Generate a 20-second song, separate it, and score the stems.'
        'config:Show every setting with its value and origin.'
        'completion:Print a shell completion script for commands, options and models.'
      )
      _describe -t commands 'command' commands
      ;;
    args)
      case $words[1] in
        separate)
          case ${words[CURRENT]} in
            --model=*)
              compset -P '--model='
              compadd -- '2stems' '2stems-16kHz' '4stems' '4stems-16kHz' '5stems' '5stems-16kHz'
              return
              ;;
            --format=*)
              compset -P '--format='
              compadd -- 'wav' 'flac' 'mp3' 'ogg' 'opus' 'm4a'
              return
              ;;
            --bit-depth=*)
              compset -P '--bit-depth='
              compadd -- '16' '24' '32f' 'source'
              return
              ;;
            --clip=*)
              compset -P '--clip='
              compadd -- 'clamp' 'rescale' 'none'
              return
              ;;
            --high-band=*)
              compset -P '--high-band='
              compadd -- 'zeros' 'average'
              return
              ;;
            --jobs=*)
              compset -P '--jobs='
              compadd -- 'auto'
              return
              ;;
            --threads=*)
              compset -P '--threads='
              compadd -- 'auto'
              return
              ;;
            --engine=*)
              compset -P '--engine='
              compadd -- 'auto' 'tensorflow' 'onnx'
              return
              ;;
            --order=*)
              compset -P '--order='
              compadd -- 'given' 'path' 'shortest' 'newest'
              return
              ;;
            --on-battery=*)
              compset -P '--on-battery='
              compadd -- 'run' 'pause'
              return
              ;;
          esac
          _arguments \
            '*:Audio files, folders to search, patterns such as '\''live/**/*.flac'\'', and URLs (s3…' \
            '*--output[Write to this folder or URL. It is created if missing.]:output' \
            '*-o[Write to this folder or URL. It is created if missing.]:o' \
            '*--from-file[Read more inputs from a file or playlist. One per line, or NUL-separated as fro…]:from-file' \
            '*--exclude[Skip files and folders that match. A name, such as Podcasts or '\''.m4b'\'', matches …]:exclude' \
            '*--limit[Process at most N tracks in this run. Run the same command again to continue.]:limit' \
            '*--name[Set the path of each output file within the folder. Placeholders\: relpath, trac…]:name' \
            "*--model[Use the model 2stems, 4stems or 5stems. Append -16kHz for stems up to 16 kHz; s…]:model:(2stems 2stems-16kHz 4stems 4stems-16kHz 5stems 5stems-16kHz)" \
            "*-m[Use the model 2stems, 4stems or 5stems. Append -16kHz for stems up to 16 kHz; s…]:m:(2stems 2stems-16kHz 4stems 4stems-16kHz 5stems 5stems-16kHz)" \
            '*--stems[Write only these stems, such as vocals,drums.]:stems' \
            '--residual[Also write the mix minus the written stems. The stem is named residual.]' \
            "*--format[Write wav, flac, mp3, ogg, opus or m4a files.]:format:(wav flac mp3 ogg opus m4a)" \
            "*-f[Write wav, flac, mp3, ogg, opus or m4a files.]:f:(wav flac mp3 ogg opus m4a)" \
            "*--bit-depth[Write 16-bit, 24-bit or 32-bit float samples. 32f is for wav only; source keeps…]:bit-depth:(16 24 32f source)" \
            '*--sample-rate[Write at this sample rate, such as 44.1k, or source. The models always work at …]:sample-rate' \
            '*--bitrate[Encode a lossy format at this bit rate. The default is 320k for mp3, 256k for o…]:bitrate' \
            '*-b[Encode a lossy format at this bit rate. The default is 320k for mp3, 256k for o…]:b' \
            "*--clip[How to handle clipping\: clamp, attenuate the track (rescale), or keep (none). T…]:clip:(clamp rescale none)" \
            '--tags[Copy tags and cover art from the source. The stem'\''s name is added to its title.]' \
            '--no-tags[Copy tags and cover art from the source. The stem'\''s name is added to its title.]' \
            '*--start[Start each track at this time, such as 90s or 1\:30.]:start' \
            '*-s[Start each track at this time, such as 90s or 1\:30.]:s' \
            '*--duration[Process only this much of each track, such as 30s.]:duration' \
            '*-d[Process only this much of each track, such as 30s.]:d' \
            '*--audio-track[Read this audio track of a video. Give its number, starting at 1, or a language…]:audio-track' \
            "*--high-band[Fill the band above the model's 11 or 16 kHz. zeros leaves it empty; average fi…]:high-band:(zeros average)" \
            '--mwf[Apply Spleeter'\''s multichannel Wiener filter to the whole file. This takes longe…]' \
            "*--jobs[Process N tracks at once. auto balances processors against memory.]:jobs:(auto)" \
            "*-j[Process N tracks at once. auto balances processors against memory.]:j:(auto)" \
            "*--threads[Use N threads for each track. auto divides the processors among the jobs.]:threads:(auto)" \
            "*--engine[Run the model with tensorflow or onnx. onnx needs less memory and supports more…]:engine:(auto tensorflow onnx)" \
            '*--max-ram[Limit the total memory of all processes to SIZE, such as 4GiB. A percentage is …]:max-ram' \
            '*--max-ram-per-file[Limit the memory of each track'\''s process. The default is 1.5 times the predicte…]:max-ram-per-file' \
            '*--min-free[Keep this much memory, such as 1GiB, free for other programs. Below it, no job …]:min-free' \
            '*--nice[Lower the priority of the jobs by N, from 0 to 19.]:nice' \
            '*--timeout[Stop a track that takes longer than this, such as 20m or 4x. 4x is four times t…]:timeout' \
            '*--stall-timeout[Stop a track that makes no progress for this long.]:stall-timeout' \
            '*--retries[Retry a track up to N times for each kind of failure.]:retries' \
            "*--order[Process tracks in this order. given is the order of the inputs.]:order:(given path shortest newest)" \
            '*--until[Don'\''t start tracks that can'\''t finish by HH\:MM, such as 07\:00.]:until' \
            "*--on-battery[Run or pause while on battery power. pause starts no new track.]:on-battery:(run pause)" \
            '--keep-awake[Keep the machine awake during the batch.]' \
            '--no-keep-awake[Keep the machine awake during the batch.]' \
            '*--cluster[Run on a Ray cluster. local starts one on this machine, auto uses the cluster t…]:cluster' \
            '*--path-map[Map a local folder to its path on the cluster'\''s nodes. May be repeated.]:path-map' \
            '--overwrite[Process finished tracks again and replace their files.]' \
            '--retry-failed[Retry tracks that failed in an earlier run.]' \
            '--accept-damaged[Write what can be read of a damaged file, with a warning. Without this option, …]' \
            '--dry-run[Show what would be done, without doing it. Also shows the expected time, memory…]' \
            '-n[Show what would be done, without doing it. Also shows the expected time, memory…]' \
            '--json[Print each event as one line of JSON.]' \
            '--quiet[Print only failures.]' \
            '-q[Print only failures.]' \
            '--verbose[Also print details and tracebacks.]' \
            '-v[Also print details and tracebacks.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        convert)
          case ${words[CURRENT]} in
            --format=*)
              compset -P '--format='
              compadd -- 'wav' 'flac' 'mp3' 'ogg' 'opus' 'm4a'
              return
              ;;
            --bit-depth=*)
              compset -P '--bit-depth='
              compadd -- '16' '24' '32f' 'source'
              return
              ;;
            --clip=*)
              compset -P '--clip='
              compadd -- 'clamp' 'rescale' 'none'
              return
              ;;
            --jobs=*)
              compset -P '--jobs='
              compadd -- 'auto'
              return
              ;;
            --order=*)
              compset -P '--order='
              compadd -- 'given' 'path' 'shortest' 'newest'
              return
              ;;
          esac
          _arguments \
            '*:Audio files, folders to search, patterns such as '\''live/**/*.flac'\'', and URLs (s3…' \
            '*--output[Write to this folder or URL. It is created if missing.]:output' \
            '*-o[Write to this folder or URL. It is created if missing.]:o' \
            '*--from-file[Read more inputs from a file or playlist. One per line, or NUL-separated as fro…]:from-file' \
            '*--exclude[Skip files and folders that match. A name, such as Podcasts or '\''.m4b'\'', matches …]:exclude' \
            '*--limit[Process at most N tracks in this run. Run the same command again to continue.]:limit' \
            '*--name[Set the path of each output file within the folder. Placeholders\: relpath, trac…]:name' \
            "*--format[Write wav, flac, mp3, ogg, opus or m4a files.]:format:(wav flac mp3 ogg opus m4a)" \
            "*-f[Write wav, flac, mp3, ogg, opus or m4a files.]:f:(wav flac mp3 ogg opus m4a)" \
            "*--bit-depth[Write 16-bit, 24-bit or 32-bit float samples. 32f is for wav only; source keeps…]:bit-depth:(16 24 32f source)" \
            '*--sample-rate[Write at this sample rate, such as 44.1k, or source. The models always work at …]:sample-rate' \
            '*--bitrate[Encode a lossy format at this bit rate. The default is 320k for mp3, 256k for o…]:bitrate' \
            '*-b[Encode a lossy format at this bit rate. The default is 320k for mp3, 256k for o…]:b' \
            "*--clip[How to handle clipping\: clamp, attenuate the track (rescale), or keep (none). T…]:clip:(clamp rescale none)" \
            '--tags[Copy tags and cover art from the source. The stem'\''s name is added to its title.]' \
            '--no-tags[Copy tags and cover art from the source. The stem'\''s name is added to its title.]' \
            '*--start[Start each track at this time, such as 90s or 1\:30.]:start' \
            '*-s[Start each track at this time, such as 90s or 1\:30.]:s' \
            '*--duration[Process only this much of each track, such as 30s.]:duration' \
            '*-d[Process only this much of each track, such as 30s.]:d' \
            '*--audio-track[Read this audio track of a video. Give its number, starting at 1, or a language…]:audio-track' \
            "*--jobs[Process N tracks at once. auto balances processors against memory.]:jobs:(auto)" \
            "*-j[Process N tracks at once. auto balances processors against memory.]:j:(auto)" \
            "*--order[Process tracks in this order. given is the order of the inputs.]:order:(given path shortest newest)" \
            '--overwrite[Process finished tracks again and replace their files.]' \
            '--retry-failed[Retry tracks that failed in an earlier run.]' \
            '--accept-damaged[Write what can be read of a damaged file, with a warning. Without this option, …]' \
            '--dry-run[Show what would be done, without doing it. Also shows the expected time, memory…]' \
            '-n[Show what would be done, without doing it. Also shows the expected time, memory…]' \
            '--json[Print each event as one line of JSON.]' \
            '--quiet[Print only failures.]' \
            '-q[Print only failures.]' \
            '--verbose[Also print details and tracebacks.]' \
            '-v[Also print details and tracebacks.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        status)
          _arguments \
            '1:Folder or URL of the batch, as given with -o.' \
            '--json[Print one JSON object.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        report)
          _arguments \
            '1:Folder or URL of the batch, as given with -o.' \
            '*--html[Write an HTML page instead of text. An earlier page of stemsplit is replaced; -…]:html' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        inspect)
          case ${words[CURRENT]} in
            --model=*)
              compset -P '--model='
              compadd -- '2stems' '2stems-16kHz' '4stems' '4stems-16kHz' '5stems' '5stems-16kHz'
              return
              ;;
            --engine=*)
              compset -P '--engine='
              compadd -- 'auto' 'tensorflow' 'onnx'
              return
              ;;
          esac
          _arguments \
            '*:Audio files, folders to search, and patterns.' \
            "*--model[Predict memory and time for this model.]:model:(2stems 2stems-16kHz 4stems 4stems-16kHz 5stems 5stems-16kHz)" \
            "*-m[Predict memory and time for this model.]:m:(2stems 2stems-16kHz 4stems 4stems-16kHz 5stems 5stems-16kHz)" \
            "*--engine[Predict memory and time for this engine. It is tensorflow, onnx, or auto for th…]:engine:(auto tensorflow onnx)" \
            '--json[Print one line of JSON for each file.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        models)
          _arguments -C \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]' \
            '1: :->cmds' \
            '*::arg:->args'

          case $state in
            cmds)
              local -a commands
              commands=(
                'list:List the models, their stems, and whether they are installed.'
                'fetch:Download models and replace installed ones.'
                'import:Install a model from a local archive or folder, without network access.'
                'verify:Check the files of models against their checksums.'
                'remove:Remove models from this machine.'
                'path:Print the models folder, or the folder of one model.'
              )
              _describe -t commands 'command' commands
              ;;
            args)
              case $words[1] in
                list)
                  _arguments \
                    '--help[Display this message and exit.]' \
                    '-h[Display this message and exit.]' \
                    '--help-all[Display this message and exit.]' \
                    '--version[Display application version.]'

                  ;;
                fetch)
                  _arguments \
                    '*:Models to download. A model and its -16kHz variant share their weights.' \
                    '--help[Display this message and exit.]' \
                    '-h[Display this message and exit.]' \
                    '--help-all[Display this message and exit.]' \
                    '--version[Display application version.]'

                  ;;
                import)
                  _arguments \
                    '1:Model to install.' \
                    '2:NAME.tar.gz as published by Deezer, or a folder with its files.:_files' \
                    '--help[Display this message and exit.]' \
                    '-h[Display this message and exit.]' \
                    '--help-all[Display this message and exit.]' \
                    '--version[Display application version.]'

                  ;;
                verify)
                  _arguments \
                    '*:Models to check. Without names, all installed models.' \
                    '--help[Display this message and exit.]' \
                    '-h[Display this message and exit.]' \
                    '--help-all[Display this message and exit.]' \
                    '--version[Display application version.]'

                  ;;
                remove)
                  _arguments \
                    '*:Models to remove. A model and its -16kHz variant share their weights.' \
                    '--help[Display this message and exit.]' \
                    '-h[Display this message and exit.]' \
                    '--help-all[Display this message and exit.]' \
                    '--version[Display application version.]'

                  ;;
                path)
                  _arguments \
                    '1:Print the folder of this model.' \
                    '--help[Display this message and exit.]' \
                    '-h[Display this message and exit.]' \
                    '--help-all[Display this message and exit.]' \
                    '--version[Display application version.]'

                  ;;
              esac
              ;;
          esac
          ;;
        doctor)
          _arguments \
            '--json[Print one JSON object.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        demo)
          _arguments \
            '*--output[Write the song and its stems to this folder.]:output' \
            '*-o[Write the song and its stems to this folder.]:o' \
            '--quiet[Print only failures.]' \
            '-q[Print only failures.]' \
            '--verbose[Also print details and tracebacks.]' \
            '-v[Also print details and tracebacks.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        config)
          _arguments \
            "1:Show the settings of this command.:(separate convert inspect)" \
            '--json[Print one JSON object.]' \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
        completion)
          _arguments \
            "1:Print the script for bash, zsh or fish.:(bash zsh fish)" \
            '--help[Display this message and exit.]' \
            '-h[Display this message and exit.]' \
            '--help-all[Display this message and exit.]' \
            '--version[Display application version.]'

          ;;
      esac
      ;;
  esac
}
compdef _cyclopts_stemsplit stemsplit
