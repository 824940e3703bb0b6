# Draws data against samples, and the log-likelihoods of held-out and planted rows.
#   gnuplot -e "folder='out/demo'" examples/demo/picture.gp      reads folder/*.tsv, writes folder/power.png
stats folder."/log_prob.tsv" using 1 nooutput name "HELD_OUT"
stats folder."/anomalies.tsv" using 1 nooutput name "PLANTED"
set terminal pngcairo size 1320,760 font "sans,10" background "#ffffff"
set output folder."/power.png"
set multiplot layout 2,3 margins 0.055,0.985,0.075,0.93 spacing 0.055,0.12
set tics nomirror out
set border 3 lc rgb "#666666"
set grid lc rgb "#e8e8e8"
unset key
data_color = "#1f4e79"
sample_color = "#b5541c"
planted_color = "#d00000"

set xrange [0:7]
set yrange [229:251]
set xlabel "active power (kW)"
set ylabel "voltage (V)"
set title "data: held-out rows"
plot folder."/data.tsv" using 1:2 with points pt 7 ps 0.25 lc rgb data_color
set title "samples of the MAF"
plot folder."/samples.tsv" using 1:2 with points pt 7 ps 0.25 lc rgb sample_color

set title "log p of held-out rows"
set xrange [-45:0]
set yrange [0:*]
set xlabel "nats per row"
set ylabel "share of rows per nat"
set key top left
bin(x) = floor(x) + 0.5
set style fill transparent solid 0.45 noborder
plot folder."/log_prob.tsv" using (bin($1)):(1.0/HELD_OUT_records) smooth frequency with boxes lc rgb "#888888" title "Gaussian", \
     folder."/log_prob.tsv" using (bin($2)):(1.0/HELD_OUT_records) smooth frequency with boxes lc rgb data_color title "RealNVP", \
     folder."/log_prob.tsv" using (bin($3)):(1.0/HELD_OUT_records) smooth frequency with boxes lc rgb sample_color title "MAF"
unset key

set xrange [0:7]
set yrange [-2:24]
set xlabel "active power (kW)"
set ylabel "water heater (Wh per minute)"
set title "data: held-out rows, and planted anomalies (red)"
plot folder."/data.tsv" using 1:5 with points pt 7 ps 0.25 lc rgb data_color, \
     folder."/planted.tsv" using 1:5 with points pt 2 ps 0.6 lc rgb planted_color
set title "samples of the MAF"
plot folder."/samples.tsv" using 1:5 with points pt 7 ps 0.25 lc rgb sample_color

set title "log p by the MAF: held-out rows and planted anomalies"
set xrange [-250:0]
set yrange [0:1]
set xlabel "nats per row"
set ylabel "share of rows below"
set key top left
plot folder."/log_prob.tsv" using 3:(1.0/HELD_OUT_records) smooth cumulative with lines lw 2 lc rgb sample_color title "held-out", \
     folder."/anomalies.tsv" using 3:(1.0/PLANTED_records) smooth cumulative with lines lw 2 lc rgb planted_color title "planted"
unset multiplot
