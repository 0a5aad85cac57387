#!lua flags=allow-oom
-- delete | keys: jobs live errors results reports succeeded dead cancelled meta calls answers asks events | edges: succeeded->gone dead->gone cancelled->gone
--
-- Deletes ended jobs, whole. One that ended within RESEND_WINDOW goes when that is over, because its
-- enqueue or its outcome may still be sent again and would bring it back.
-- ARGV: now, token of the call, then the ids (at most 100)
-- Reply: a letter per job: O deleted, W goes when RESEND_WINDOW is over, E it has not ended,
--   U unknown
-- Sending the call again deletes nothing more and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local given = redis.call('HGET', answers, token)
if given then return given end
local ids = { unpack(ARGV, 3) }
local known = redis.call('HMGET', jobs, unpack(ids))
local lives = redis.call('HMGET', live, unpack(ids))
local resting = {}
for _, set in ipairs({ succeeded, dead, cancelled }) do
  resting[#resting + 1] = { set, redis.call('ZMSCORE', set, unpack(ids)) }
end

local letters, gone, soon, seen, moved = {}, {}, {}, {}, false
for i, id in ipairs(ids) do
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
  end
  local ended = read_live(lives[i]).ended
  if seen[id] then
    letters[i] = 'U'
  elseif not from then
    letters[i] = known[i] and 'E' or 'U'
  elseif ended > now - RESEND_WINDOW then
    letters[i] = 'W'
    soon[from] = soon[from] or {}
    table.insert(soon[from], ended + RESEND_WINDOW)
    table.insert(soon[from], id)
    moved = true
  else
    letters[i] = 'O'
    gone[from] = gone[from] or {}
    table.insert(gone[from], id)
    moved = true
  end
  seen[id] = true
end
for set, list in pairs(soon) do redis.call('ZADD', set, 'LT', unpack(list)) end
for set, list in pairs(gone) do forget(list, set, jobs, live, errors, results, meta, asks, reports) end
local answer = table.concat(letters)
if moved then remember(calls, answers, token, now, answer) end
return answer
