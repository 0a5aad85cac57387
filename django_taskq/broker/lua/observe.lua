#!lua flags=allow-oom
-- observe | keys: jobs live errors results ready running scheduled retrying waiting succeeded dead cancelled events meta | edges: none
--
-- Reads jobs as they are at one moment, and numbers that moment: of two readings of a job the one
-- with the higher version is the later, whoever keeps them, also when Redis lost its memory between.
-- ARGV: now, bytes of a part that are answered at most, bytes after which it ends early, then the ids
--   (at most 500)
-- Reply: now, version, the last entry of the stream ("" for none: what it says of these jobs is in
--   here), then per job (not of all if it ended early): id, state ("" unknown), its score there,
--   envelope (cut), its whole length, live, errors ("" if they are longer), value ("" if it is longer),
--   its whole length

local now, part, most = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = { unpack(ARGV, 4) }
local version = math.max((tonumber(redis.call('HGET', meta, 'version')) or 0) + 1, now)
redis.call('HSET', meta, 'version', string.format('%.0f', version))
local latest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]

-- Which set each is in. Most are where their record says, and are not looked for elsewhere.
local states, scores = {}, {}
local function look(list, names)
  local sets = { ready = ready, running = running, scheduled = scheduled, retrying = retrying,
    waiting = waiting, succeeded = succeeded, dead = dead, cancelled = cancelled }
  for _, name in ipairs(names) do
    if #list == 0 then break end
    local asked, missing = {}, {}
    for i, at in ipairs(list) do asked[i] = ids[at] end
    local set = sets[name]
    for i, score in ipairs(redis.call('ZMSCORE', set, unpack(asked))) do
      if score then states[list[i]], scores[list[i]] = name, score
      else missing[#missing + 1] = list[i] end
    end
    list = missing
  end
  return list
end

local lives = redis.call('HMGET', live, unpack(ids))
local running_ones, ended_ones, others = {}, {}, {}
for i = 1, #ids do
  local l = read_live(lives[i])
  local list = others
  if l.ended > 0 then list = ended_ones elseif l.fence > l.settled then list = running_ones end
  list[#list + 1] = i
end
for _, left in ipairs({ look(ended_ones, { 'succeeded', 'dead', 'cancelled' }),
  look(running_ones, { 'running' }) }) do
  for _, at in ipairs(left) do others[#others + 1] = at end
end
look(others, { 'ready', 'scheduled', 'retrying', 'waiting', 'running', 'succeeded', 'dead', 'cancelled' })

local reply = { now, version, latest and latest[1] or '' }
local calls = redis.call('HMGET', jobs, unpack(ids))
local lines = redis.call('HMGET', errors, unpack(ids))
local values = redis.call('HMGET', results, unpack(ids))
local bytes = 0
for i, id in ipairs(ids) do
  local call, line, value = calls[i] or '', lines[i] or '', values[i] or ''
  local whole, long = #call, #value
  if whole > part then call = string.sub(call, 1, 1024) end
  if #line > part then line = '' end
  if long > part then value = '' end
  for _, fact in ipairs({ id, states[i] or '', scores[i] or '', call, whole, lives[i] or '', line,
    value, long }) do
    reply[#reply + 1] = fact
  end
  bytes = bytes + #call + #line + #value
  if bytes > most then break end
end
return reply
